export const VIEWER = 'query Viewer { viewer { id } }';

export const MESSAGE = 'query Message($id: ID!) { message(id: $id) { id status text } }';

export const SEND = `
  mutation Send($input: SendMessageInput!) {
    sendMessage(input: $input) {
      conversation { id }
      message { id role status text }
      reply { id role status }
    }
  }`;

export const STOP = 'mutation Stop($input: StopMessageInput!) { stopMessage(input: $input) { message { id } } }';

export const STREAM = `
  subscription Stream($messageId: ID!, $after: String) {
    messageStream(messageId: $messageId, after: $after) {
      __typename
      cursor
      ... on TextDelta { part offset text }
      ... on StreamRestarted { part }
      ... on MessageFinished { message { id status text } }
    }
  }`;
