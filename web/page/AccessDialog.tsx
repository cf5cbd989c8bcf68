/** Asks who is asking when the server lets nobody in: over the page, so that nothing typed is lost. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Chat } from "../chat/data/chat";
import { messageOf } from "../chat/data/errors";
import { Mark } from "../chat/view/icons";
import { forgetToken, givenToken, keepToken, readToken } from "./token";

export function AccessDialog({ chat }: { chat: Chat }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const isFirst = useSignal(false);
  const isRefused = chat.access.value === "refused";
  useEffect(() => {
    isFirst.value = chat.thread.peek().messages.peek().length + chat.conversations.items.peek().length === 0;
    if (isRefused) dialog.current?.showModal();
    else dialog.current?.close();
  }, [isRefused]);
  return (
    <dialog
      class={isFirst.value ? "dialog access first" : "dialog access"}
      ref={dialog}
      aria-labelledby="access-title"
      // There is nothing behind it that could be used. Asked twice, browsers close it all the same.
      onKeyDown={(event) => event.key === "Escape" && event.preventDefault()}
      onCancel={(event) => event.preventDefault()}
      onClose={() => chat.access.peek() === "refused" && dialog.current?.showModal()}
    >
      {isRefused && <AccessForm chat={chat} />}
    </dialog>
  );
}

const REMEDY = givenToken() ? "Reload the page, or enter another one." : "Enter another one.";
const EXPIRED = `Your token is not valid any more. ${REMEDY}`;

function AccessForm({ chat }: { chat: Chat }) {
  const problem = useSignal(readToken() ? EXPIRED : "");
  const isTrying = useSignal(false);
  const submit = async (event: SubmitEvent & { currentTarget: HTMLFormElement }) => {
    event.preventDefault();
    const token = String(new FormData(event.currentTarget).get("token")).trim();
    keepToken(token);
    isTrying.value = true;
    try {
      if (!(await chat.renewToken())) refuse("The server refused this token.");
    } catch (error) {
      refuse(messageOf(error));
    }
    isTrying.value = false;
  };
  const refuse = (text: string) => {
    forgetToken();
    problem.value = text;
  };
  return (
    <form onSubmit={(event) => void submit(event)}>
      <Mark size={40} />
      <h2 id="access-title">Loquent</h2>
      <p>This server wants to know who is asking.</p>
      <label for="access-token">Access token</label>
      <input
        id="access-token"
        name="token"
        class="field"
        type="password"
        autocomplete="off"
        spellcheck={false}
        required
        autofocus
        aria-describedby="access-hint"
      />
      <p class="problem" role="alert">
        {problem.value}
      </p>
      <button type="submit" class="primary" disabled={isTrying.value}>
        Continue
      </button>
      <p class="hint" id="access-hint">
        The token stays in this tab and is forgotten when you close it.
      </p>
    </form>
  );
}
