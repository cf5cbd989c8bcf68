/** In place of GraphiQL's own, which formats JSON with half a megabyte of prettier. */
import { applyEdits, format } from "jsonc-parser";

export { parseJSONC, tryParseJSONC } from "../node_modules/@graphiql/react/dist/utility/jsonc.js";

export async function formatJSONC(content: string): Promise<string> {
  return applyEdits(content, format(content, undefined, { tabSize: 2, insertSpaces: true }));
}
