/** A reply as it is written: the events of its stream, put where they say. */
import { MESSAGE_NOW, MESSAGE_STREAM } from "./operations.js";

const UNFINISHED = ["QUEUED", "STREAMING", "AWAITING_APPROVAL"];
const RETRY_MS = 1_500;

/** Nothing will change it any more. */
export const isFinished = (message) => !UNFINISHED.includes(message.status);

/** Still being written, and the user has not asked it to stop. */
export const isRunning = (message) => !isFinished(message) && !message.isStopping;

/** Applies one event to a message; to apply it a second time changes nothing. */
export function applyEvent(message, event) {
  message.cursor = event.cursor;
  switch (event.__typename) {
    case "TextDelta":
      return writeText(message, "TextPart", event);
    case "ReasoningDelta":
      return writeText(message, "ReasoningPart", event);
    case "StreamRestarted":
      message.parts.length = Math.min(message.parts.length, event.part);
      message.status = "STREAMING";
      return undefined;
    case "MessageFinished":
      return Object.assign(message, event.message);
    default:
      message.parts[event.part] = { __typename: "ToolCallPart", ...event.toolCall };
      message.status = event.__typename === "ToolCallAwaitingApproval" ? "AWAITING_APPROVAL" : "STREAMING";
      return undefined;
  }
}

/** `offset` counts UTF-16 code units, as JavaScript's strings do. */
function writeText(message, type, { part, offset, text }) {
  const before = message.parts[part]?.__typename === type ? message.parts[part].text : "";
  message.parts[part] = { __typename: type, text: before.slice(0, offset) + text };
  message.status = "STREAMING";
}

/**
 * Follows a running reply from its cursor until it has finished, and returns the function that stops following.
 * Should the server end the stream early, the message is read again and followed from there.
 */
export function followReply({ ask, socket }, message, onChange) {
  let stop;
  let timer;
  let stopped = false;
  const subscribe = () => {
    const variables = () => ({ id: message.id, after: message.cursor });
    stop = socket.subscribe(MESSAGE_STREAM, variables, { next, end });
  };
  const next = ({ messageStream: event }) => {
    applyEvent(message, event);
    onChange(event);
  };
  const end = () => {
    if (!stopped && !isFinished(message)) timer = setTimeout(readAgain, RETRY_MS);
  };
  const readAgain = async () => {
    try {
      const answer = await ask(MESSAGE_NOW, { id: message.id });
      if (stopped || !answer.message) return;
      Object.assign(message, answer.message);
      onChange(null);
    } catch {
      // The network is down: the subscription waits for it.
    }
    if (!stopped && !isFinished(message)) subscribe();
  };
  subscribe();
  return () => {
    stopped = true;
    clearTimeout(timer);
    stop();
  };
}
