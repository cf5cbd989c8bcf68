/** Every GraphQL document of the page. */

const CALL = `fragment Call on ToolCallPart { id tool parameters status result }`;

const MESSAGE = `
fragment Whole on Message {
  id role status text cursor model
  parent { id }
  parts {
    __typename
    ... on TextPart { text }
    ... on ReasoningPart { text }
    ... on ToolCallPart { ...Call }
  }
  error { code message retryable }
}
${CALL}`;

const SUMMARY = `fragment Summary on Conversation { id title updatedAt }`;

export const VIEWER = `query Viewer { viewer { id } }`;

export const CONVERSATIONS = `
query Conversations($after: String) {
  conversations(first: 30, after: $after) {
    edges { node { ...Summary } }
    pageInfo { hasNextPage endCursor }
  }
}
${SUMMARY}`;

export const CONVERSATION = `
query Conversation($id: ID!, $before: String) {
  conversation(id: $id) {
    ...Summary
    cursor
    messages(last: 30, before: $before) {
      edges { node { ...Whole } }
      pageInfo { hasPreviousPage startCursor }
    }
  }
}
${SUMMARY}
${MESSAGE}`;

export const MESSAGE_NOW = `
query Message($id: ID!) { message(id: $id) { ...Whole } }
${MESSAGE}`;

export const SEND = `
mutation Send($input: SendMessageInput!) {
  sendMessage(input: $input) {
    conversation { ...Summary cursor }
    message { ...Whole }
    reply { ...Whole }
  }
}
${SUMMARY}
${MESSAGE}`;

export const REGENERATE = `
mutation Regenerate($input: RegenerateMessageInput!) {
  regenerateMessage(input: $input) { reply { ...Whole } }
}
${MESSAGE}`;

export const STOP = `
mutation Stop($input: StopMessageInput!) {
  stopMessage(input: $input) { message { ...Whole } }
}
${MESSAGE}`;

export const RESOLVE_TOOL_CALL = `
mutation Resolve($input: ResolveToolCallInput!) {
  resolveToolCall(input: $input) { message { ...Whole } }
}
${MESSAGE}`;

export const RENAME = `
mutation Rename($input: UpdateConversationInput!) {
  updateConversation(input: $input) { conversation { ...Summary } }
}
${SUMMARY}`;

export const DELETE = `
mutation Delete($input: DeleteConversationInput!) { deleteConversation(input: $input) { deletedId } }`;

export const MESSAGE_STREAM = `
subscription MessageStream($id: ID!, $after: String) {
  messageStream(messageId: $id, after: $after) {
    __typename
    cursor
    ... on TextDelta { part offset text }
    ... on ReasoningDelta { part offset text }
    ... on ToolCallStarted { part toolCall { ...Call } }
    ... on ToolCallAwaitingApproval { part toolCall { ...Call } }
    ... on ToolCallFinished { part toolCall { ...Call } }
    ... on StreamRestarted { part }
    ... on MessageFinished { message { ...Whole } }
  }
}
${MESSAGE}`;

export const CONVERSATION_STREAM = `
subscription ConversationStream($id: ID!, $after: String) {
  conversationStream(conversationId: $id, after: $after) {
    __typename
    cursor
    ... on MessageAdded { message { ...Whole } }
    ... on MessageChanged { message { ...Whole } }
    ... on ConversationChanged { conversation { ...Summary } }
    ... on ConversationDeleted { conversationId }
  }
}
${SUMMARY}
${MESSAGE}`;
