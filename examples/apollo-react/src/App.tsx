import { skipToken, useMutation, useQuery } from "@apollo/client/react";

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
import { addConversation, addMessages } from "./cache";
import { useConversationEvents } from "./use-conversation-events";
import { useReply } from "./use-reply";

export function App() {
  const [openId, open] = useOpenConversation();
  const list = useQuery(ConversationsDocument);
  const thread = useQuery(ThreadDocument, openId === null ? skipToken : { variables: { id: openId } });
  const [sendMessage] = useMutation(SendDocument);
  const [stopMessage] = useMutation(StopDocument);
  const outbox = useOutbox(deliver);

  // What was open before is given until there is something newer.
  const conversation = thread.data?.conversation?.id === openId ? thread.data?.conversation : null;
  const messages = conversation?.messages.edges.map(({ node }) => node) ?? [];
  const unsent = outbox.unsent.filter(({ conversationId }) => conversationId === openId);
  const running = messages.find(isRunning);
  const problem = list.error ?? thread.error;

  async function deliver(entry: Unsent): Promise<void> {
    const isNew = entry.conversationId === null;
    const { data } = await sendMessage({
      variables: { input: inputOf(entry) },
      update: (cache, { data }) => {
        if (!data) return;
        const { conversation, message, reply } = data.sendMessage;
        if (isNew) addConversation(cache, data.sendMessage);
        else addMessages(cache, conversation.id, message, reply);
      },
    });
    if (isNew && data) open((id) => id ?? data.sendMessage.conversation.id);
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
          onStop={running && (() => void stopMessage({ variables: { id: running.id } }))}
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
  const [resolve] = useMutation(ResolveDocument);
  return (
    <MessageView
      message={useReply(message)}
      onResolve={(toolCallId, approve) =>
        void resolve({ variables: { input: { messageId: message.id, toolCallId, approve } } })
      }
    />
  );
}
