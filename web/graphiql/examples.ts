/** The tabs of the first visit. */
export const EXAMPLES: { query: string; variables?: string }[] = [
  {
    query: `# Who is asking: the subject of the token
# in the Headers editor below.
query WhoAmI {
  viewer {
    id
    usage {
      inputTokens
      outputTokens
    }
    rateLimit {
      limit
      remaining
      resetAt
    }
  }
}
`,
  },
  {
    query: `# Stores a message and starts the reply; answers
# before the reply is written. Then watch it in the
# next tab. "conversationId" goes on in a conversation.
mutation SendMessage($input: SendMessageInput!) {
  sendMessage(input: $input) {
    conversation {
      id
    }
    reply {
      id
      status
    }
  }
}
`,
    variables: JSON.stringify({ input: { text: "What can you do?" } }, null, 2),
  },
  {
    query: `# A reply as it is written, event by event, or a
# finished one again. An empty "messageId" is filled
# in by this page: your newest reply.
subscription StreamReply($messageId: ID!, $after: String) {
  messageStream(messageId: $messageId, after: $after) {
    __typename
    cursor
    ... on TextDelta {
      part
      offset
      text
    }
    ... on ReasoningDelta {
      part
      offset
      text
    }
    ... on ToolCallStarted {
      part
      toolCall {
        tool
        parameters
      }
    }
    ... on ToolCallFinished {
      part
      toolCall {
        tool
        status
        result
      }
    }
    ... on MessageFinished {
      message {
        status
        text
      }
    }
  }
}
`,
    variables: JSON.stringify({ messageId: "" }, null, 2),
  },
  {
    query: `# The newest conversations and their last messages.
query Conversations {
  conversations(first: 5) {
    edges {
      node {
        id
        title
        updatedAt
        messages(last: 4) {
          edges {
            node {
              id
              role
              status
              text
            }
          }
        }
      }
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`,
  },
  {
    query: `# The to-do list. The agent's tools are these
# same operations.
query Tasks {
  tasks(first: 20) {
    edges {
      node {
        id
        title
        notes
        done
      }
    }
  }
}
`,
  },
  {
    query: `# A new task: the tab before this one shows it, and
# the agent knows of it.
mutation AddTask($title: String!) {
  addTask(input: { title: $title }) {
    task {
      id
      title
    }
  }
}
`,
    variables: JSON.stringify({ title: "Water the plants" }, null, 2),
  },
];
