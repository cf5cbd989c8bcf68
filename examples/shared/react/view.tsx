import { type KeyboardEvent, type ReactNode, useState } from "react";

import { type Message } from "../messages";
import type { Unsent } from "../outbox";
import "../style.css";

export function Layout({
  sidebar,
  composer,
  children,
}: Record<"sidebar" | "composer" | "children", ReactNode>) {
  return (
    <div className="chat">
      {sidebar}
      <main>
        <div className="scroller">
          <div className="messages">{children}</div>
        </div>
        {composer}
      </main>
    </div>
  );
}

interface SidebarProps {
  conversations: { id: string; title: string | null }[];
  openId: string | null;
  onOpen: (id: string | null) => void;
}

export function Sidebar({ conversations, openId, onOpen }: SidebarProps) {
  return (
    <nav className="conversations" aria-label="Conversations">
      <h1>Chat</h1>
      <div>
        <button onClick={() => onOpen(null)}>New conversation</button>
        {conversations.map(({ id, title }) => (
          <button key={id} aria-current={id === openId} onClick={() => onOpen(id)}>
            {title ?? "Untitled"}
          </button>
        ))}
      </div>
    </nav>
  );
}

interface MessageProps {
  message: Message;
  onResolve: (toolCallId: string, approve: boolean) => void;
}

export function MessageView({ message: { id, role, status, parts, error }, onResolve }: MessageProps) {
  return (
    <article className="message" data-id={id} data-role={role} data-status={status}>
      {parts.map((part, index) => (
        <PartView key={index} part={part} onResolve={onResolve} />
      ))}
      {error && <div className="note problem">{error.message}</div>}
      {status === "STOPPED" && <div className="note">Stopped</div>}
    </article>
  );
}

function PartView({ part, onResolve }: { part: Message["parts"][number] } & Pick<MessageProps, "onResolve">) {
  if (part.__typename !== "ToolCallPart") {
    return <div className={part.__typename === "TextPart" ? "text" : "thought"}>{part.text}</div>;
  }
  return (
    <div className="tool">
      {`${part.tool}: ${part.status.toLowerCase().replace("_", " ")}`}
      {part.status === "AWAITING_APPROVAL" && (
        <>
          <button onClick={() => onResolve(part.id, true)}>Approve</button>
          <button onClick={() => onResolve(part.id, false)}>Deny</button>
        </>
      )}
    </div>
  );
}

export function UnsentView({ entry, onRetry }: { entry: Unsent; onRetry: (entry: Unsent) => void }) {
  return (
    <article className="message unsent" data-role="USER">
      <div className="text">{entry.text}</div>
      {entry.problem === null ? (
        <div className="note">Sending…</div>
      ) : (
        <div className="note problem">
          Not sent: {entry.problem} <button onClick={() => onRetry(entry)}>Retry</button>
        </div>
      )}
    </article>
  );
}

/** `onStop` is there while a reply is written. */
export function Composer({
  onSend,
  onStop,
}: {
  onSend: (text: string) => void;
  onStop: (() => void) | undefined;
}) {
  const [draft, setDraft] = useState("");

  function send() {
    if (draft.trim() === "" || onStop) return;
    onSend(draft);
    setDraft("");
  }

  function sendByEnter(event: KeyboardEvent) {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  }

  return (
    <form className="composer" action={send}>
      <textarea
        rows={1}
        autoFocus
        aria-label="Message"
        placeholder="Add milk to my list"
        value={draft}
        onChange={(event) => setDraft(event.target.value)}
        onKeyDown={sendByEnter}
      />
      {onStop ? (
        <button key="stop" type="button" onClick={onStop}>
          Stop
        </button>
      ) : (
        <button key="send" type="submit">
          Send
        </button>
      )}
    </form>
  );
}
