/** GraphiQL for this server: the page's token as the default header, and tabs that work at the first click. */
import { GraphiQL } from "graphiql";
import { setNonce } from "get-nonce";
import { createRoot } from "react-dom/client";
import "graphiql/style.css";
import { EXAMPLES } from "./examples";
import { createFetcher } from "./fetcher";
import "./page.css";
import { createStorage } from "./storage";

const token = readMeta("token");
const authorization = { Authorization: `Bearer ${token}` };
const defaultHeaders = JSON.stringify(authorization, null, 2);
const defaultTabs = EXAMPLES.map((example) => ({ ...example, headers: defaultHeaders }));

// The policy of the page allows the style elements of dialogs and menus by this nonce only.
setNonce(readMeta("nonce"));
createRoot(document.getElementById("graphiql")!).render(
  <GraphiQL
    fetcher={createFetcher(authorization)}
    storage={createStorage(defaultHeaders)}
    defaultHeaders={defaultHeaders}
    defaultTabs={defaultTabs}
    defaultEditorToolsVisibility="variables"
    shouldPersistHeaders={false}
  />,
);

function readMeta(name: string): string {
  return document.querySelector<HTMLMetaElement>(`meta[name="loquent-${name}"]`)?.content ?? "";
}
