import { useMutation, useQuery } from "urql";

import {
  ConversationsDocument,
  ResolveDocument,
  SendDocument,
  StopDocument,
  ThreadDocument,
  type ThreadQuery,
} from "../../generated/documents/graphql";
import { isRunning, type Message } from "../../shared/messages";
import { inputOf, missing, type Unsent } from "../../shared/outbox";
import { useOpenConversation } from "../../shared/react/use-open-conversation";
import { useOutbox } from "../../shared/react/use-outbox";
import { Composer, Layout, MessageView, Sidebar, UnsentView } from "../../shared/react/view";
import { useConversationEvents } from "./use-conversation-events";
import { useReply } from "./use-reply";

export function App() {
  const [openId, open] = useOpenConversation();
  const [list] = useQuery({ query: ConversationsDocument });
  const [thread] = useQuery({
    query: ThreadDocument,
    variables: { id: openId ?? "" },
    pause: openId === null,
  });
  const [, sendMessage] = useMutation(SendDocument);
  const [, stopMessage] = useMutation(StopDocument);
  const outbox = useOutbox(deliver);

  // What was open before is given until there is something newer.
  const conversation = thread.data?.conversation?.id === openId ? thread.data?.conversation : null;
  const messages = conversation?.messages.edges.map(({ node }) => node) ?? [];
  const unsent = outbox.unsent.filter(({ conversationId }) => conversationId === openId);
  const running = messages.find(isRunning);
  const problem = list.error ?? thread.error;

  async function deliver(entry: Unsent): Promise<void> {
    const { data, error } = await sendMessage({ input: inputOf(entry) });
    if (error) throw error;
    if (data && entry.conversationId === null) open((id) => id ?? data.sendMessage.conversation.id);
  }

  return (
    <Layout
      sidebar={
        <Sidebar
          conversations={list.data?.conversations.edges.map(({ node }) => node) ?? []}
          openId={openId}
          onOpen={open}
        />
      }
      composer={
        <Composer
          onSend={(text) => void outbox.send(text, openId, messages.length)}
          onStop={running && (() => void stopMessage({ id: running.id }))}
        />
      }
    >
      {problem && <p className="problem">{problem.message}</p>}
      {conversation && <Thread key={conversation.id} conversation={conversation} />}
      {missing(unsent, messages).map((entry) => (
        <UnsentView key={entry.key} entry={entry} onRetry={(entry) => void outbox.retry(entry)} />
      ))}
    </Layout>
  );
}

function Thread({ conversation }: { conversation: NonNullable<ThreadQuery["conversation"]> }) {
  useConversationEvents(conversation);
  return conversation.messages.edges.map(({ node }) => <Reply key={node.id} message={node} />);
}

function Reply({ message }: { message: Message }) {
  const [, resolve] = useMutation(ResolveDocument);
  return (
    <MessageView
      message={useReply(message)}
      onResolve={(toolCallId, approve) =>
        void resolve({ input: { messageId: message.id, toolCallId, approve } })
      }
    />
  );
}
