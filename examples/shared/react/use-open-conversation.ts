import { useEffect, useState } from "react";

/** The id of the conversation that is open, null for a new one; it survives a reload. */
export function useOpenConversation() {
  const state = useState(location.hash.slice(1) || null);
  const [id] = state;
  useEffect(() => history.replaceState(null, "", `#${id ?? ""}`), [id]);
  return state;
}
