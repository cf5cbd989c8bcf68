/** In place of Monaco's editors that compare texts: GraphiQL has none. */
export class DiffEditorWidget {}
export class MultiDiffEditorWidget {}
