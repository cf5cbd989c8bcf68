/** A reply: its parts as they are written, then what became of it and what can be done with it. */
import type { Message, Part } from "../data/message";
import type { Thread } from "../data/thread";
import { ReplyNote } from "./ReplyNote";
import { ReplyTools } from "./ReplyTools";
import { ReasoningPart } from "./ReasoningPart";
import { TextPart } from "./TextPart";
import { ToolCallCard } from "./ToolCallCard";

export function Reply({ thread, message, name }: { thread: Thread; message: Message; name: string }) {
  const running = message.isRunning.value;
  const parts = message.parts.value;
  const last = parts.length - 1;
  return (
    <article class="turn reply" part="message reply" aria-busy={running}>
      <h2 class="unseen">{name} said</h2>
      <div class="parts">
        {parts.map((part, index) => (
          <PartView
            key={`${index} ${part.type}`}
            thread={thread}
            message={message}
            part={part}
            isGrowing={running && index === last}
          />
        ))}
      </div>
      <Pulse isHidden={!running || showsLife(parts)} />
      {!running && <ReplyNote thread={thread} message={message} />}
      <div class="tools">{!running && <ReplyTools thread={thread} message={message} />}</div>
    </article>
  );
}

interface PartViewProps {
  thread: Thread;
  message: Message;
  part: Part;
  isGrowing: boolean;
}

function PartView({ thread, message, part, isGrowing }: PartViewProps) {
  switch (part.type) {
    case "text":
      return <TextPart text={part.text} isGrowing={isGrowing} />;
    case "reasoning":
      return <ReasoningPart text={part.text} isGrowing={isGrowing} />;
    case "toolCall":
      return <ToolCallCard thread={thread} message={message} call={part.call} />;
  }
}

/** Something on the page already shows that the reply goes on: growing text, or a tool call at work. */
function showsLife(parts: readonly Part[]): boolean {
  const last = parts.at(-1);
  if (last?.type !== "toolCall") return last !== undefined;
  return parts.some((part) => part.type === "toolCall" && /RUNNING|AWAITING/.test(part.call.value.status));
}

/** Hidden rather than taken away: no node goes while a reply is written. */
function Pulse({ isHidden }: { isHidden: boolean }) {
  return (
    <div class="pulse" role="img" aria-label="Generating" hidden={isHidden}>
      <span />
      <span />
      <span />
    </div>
  );
}
