/** How the connection is, said quietly, and only where it is not as it should be. */
import type { Chat } from "../data/chat";

const CONNECTIONS = { connected: "", reconnecting: "Reconnecting…", offline: "Offline" };

/** `role`: `status` where no other line tells a screen reader. */
export function Connection({ chat, role }: { chat: Chat; role?: "status" }) {
  const text = CONNECTIONS[chat.connection.value];
  return (
    <p class="connection" role={role} hidden={text === ""}>
      {text}
    </p>
  );
}
