/** The chat page: one chat with its conversations on one side and the to-do list on the other. */
import { render } from "preact";
import { Chat } from "../chat/data/chat";
import { createChatSheet, createSheet } from "../chat/style/sheets";
import { App } from "./App";
import { followAddress } from "./address";
import layout from "./style/layout.css?inline";
import sidebar from "./style/sidebar.css?inline";
import surfaces from "./style/surfaces.css?inline";
import tasks from "./style/tasks.css?inline";
import { lasting } from "./storage";
import { applyTheme } from "./theme";
import { readToken } from "./token";

document.adoptedStyleSheets = [createChatSheet(), createSheet(layout, sidebar, tasks, surfaces)];
applyTheme();

const chat = new Chat({ endpoint: new URL("graphql", document.baseURI), token: readToken, storage: lasting });
followAddress(chat);
render(<App chat={chat} />, document.body);
