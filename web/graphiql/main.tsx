/** GraphiQL for this server: the page's token as the default header, and tabs that work at the first click. */
import { GraphiQL } from "graphiql";
import { createRoot } from "react-dom/client";
import "@graphiql/react/style.css";
import "@graphiql/plugin-doc-explorer/style.css";
import "@graphiql/plugin-history/style.css";
import "graphiql/graphiql.css";
import { EXAMPLES } from "./examples";
import { createFetcher } from "./fetcher";
import { readMeta } from "./meta";
import "./monaco";
import "./page.css";
import { createStorage } from "./storage";
import { SystemTheme } from "./system-theme";

const authorization = { Authorization: `Bearer ${readMeta("token")}` };
const defaultHeaders = JSON.stringify(authorization, null, 2);
const defaultTabs = EXAMPLES.map((example) => ({ ...example, headers: defaultHeaders }));

createRoot(document.getElementById("graphiql")!).render(
  <GraphiQL
    fetcher={createFetcher(authorization)}
    storage={createStorage(defaultHeaders)}
    defaultHeaders={defaultHeaders}
    defaultTabs={defaultTabs}
    defaultEditorToolsVisibility="variables"
    shouldPersistHeaders={false}
  >
    <SystemTheme />
  </GraphiQL>,
);
