import type { Server } from "./server.ts";

export interface StoredMessage {
  id: string;
  role: "USER" | "ASSISTANT";
  status: string;
  text: string;
  rating: "UP" | "DOWN" | null;
  versions: { id: string }[];
}

const NEWEST = `{
  conversations(first: 1) { edges { node {
    id title
    messages(last: 20) { edges { node { id role status text rating versions { id } } } }
  } } }
}`;

/** The messages of the newest conversation, as the server has them, oldest first. */
export async function storedMessages(server: Server, owner?: string): Promise<StoredMessage[]> {
  const { conversations } = await server.execute(NEWEST, {}, owner);
  return conversations.edges[0]?.node.messages.edges.map(({ node }: { node: StoredMessage }) => node) ?? [];
}

/** The text of the newest reply, as the server has it. */
export async function storedText(server: Server): Promise<string> {
  return (await storedMessages(server)).at(-1)?.text ?? "";
}

/** A conversation of one exchange; gives its id. */
export async function storeConversation(
  server: Server,
  title: string,
  text = "Hello",
  owner?: string,
): Promise<string> {
  const { sendMessage } = await server.execute(
    "mutation ($text: String!) { sendMessage(input: { text: $text }) { conversation { id } finishedReply { id } } }",
    { text },
    owner,
  );
  const { id } = sendMessage.conversation;
  const input = { id, title };
  await server.execute(
    "mutation ($input: UpdateConversationInput!) { updateConversation(input: $input) { conversation { id } } }",
    { input },
    owner,
  );
  return id;
}

/** A task on the list of the user; gives its id. */
export async function storeTask(server: Server, title: string): Promise<string> {
  const { addTask } = await server.execute(
    "mutation ($title: String!) { addTask(input: { title: $title }) { task { id } } }",
    {
      title,
    },
  );
  return addTask.task.id;
}
