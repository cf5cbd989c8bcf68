/** Said while the server lets nobody in with the token at hand; nothing that was typed is lost. */
import type { Chat } from "../chat/data/chat";
import { useAttempt, useView } from "../chat/view/view";

export function AccessNotice({ chat }: { chat: Chat }) {
  const { status } = useView();
  const attempt = useAttempt();
  const renew = async () => {
    if (!(await chat.renewToken())) status.sayProblem("You still have no access.");
  };
  if (chat.access.value === "granted") return null;
  return (
    <div class="access" role="alert">
      <p>You have no access to this chat, or not any more.</p>
      <button type="button" class="small" onClick={() => void attempt(renew)}>
        Try again
      </button>
    </div>
  );
}
