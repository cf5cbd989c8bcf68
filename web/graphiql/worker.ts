/** Monaco's workers in one file: the name that a worker was started with says which of them it is. */
import "monaco-editor/esm/vs/language/json/json.worker.js";
import { initialize } from "monaco-editor/esm/vs/editor/editor.worker.js";
import { GraphQLWorker } from "monaco-graphql/esm/GraphQLWorker.js";

// The module of the JSON worker waits for the first message as soon as it is loaded.
if (self.name === "graphql") {
  self.onmessage = () => initialize((...data) => new GraphQLWorker(...data));
} else if (self.name !== "json") {
  self.onmessage = () => initialize(null);
}
