// A chat server on GraphQL Yoga, graphql-ws and the model's TypeScript SDK: one event for each token.
// With SHARED_REPLIES=1 a reply may have several readers.
import { createServer } from 'node:http'
import { randomUUID } from 'node:crypto'
import { createYoga, createSchema, Repeater } from 'graphql-yoga'
import { WebSocketServer } from 'ws'
import { useServer } from 'graphql-ws/use/ws'
import Anthropic from '@anthropic-ai/sdk'

const { MODEL_URL, PORT, SHARED_REPLIES } = process.env
const client = new Anthropic({ apiKey: 'none', baseURL: MODEL_URL })
const prompts = new Map()
const shared = new Map()
const conversations = Array.from({ length: 100 }, (_, number) => ({
  id: `conversation-${number}`,
  title: `Conversation number ${number}`,
  model: 'claude-stand-in',
  createdAt: '2026-11-02T10:11:12Z',
  updatedAt: '2026-11-03T10:11:12Z',
  messageCount: number,
}))

async function* think({ prompt, messageId }) {
  const messages = [{ role: 'user', content: prompt }]
  let offset = 0
  let stopReason = ''
  let outputTokens = 0
  for await (const event of client.messages.stream({ model: 'claude-stand-in', max_tokens: 4096, messages })) {
    if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') {
      yield { __typename: 'TextDelta', messageId, offset, text: event.delta.text }
      offset += event.delta.text.length
    } else if (event.type === 'message_delta') {
      stopReason = event.delta.stop_reason
      outputTokens = event.usage.output_tokens
    }
  }
  yield { __typename: 'RunFinished', messageId, stopReason, outputTokens }
}

async function write(run, reply) {
  for await (const event of think(run)) {
    reply.events.push(event)
    for (const read of reply.readers) read(event)
  }
}

function readShared(reply) {
  return new Repeater((push, stop) => {
    const read = (event) => {
      push(event)
      if (event.__typename === 'RunFinished') stop()
    }
    reply.events.forEach(read)
    reply.readers.add(read)
    stop.then(() => reply.readers.delete(read))
  })
}

function sendMessage(_, { input }) {
  const runId = randomUUID()
  const run = { prompt: input.text, messageId: randomUUID() }
  prompts.set(runId, run)
  if (SHARED_REPLIES) {
    const reply = { events: [], readers: new Set() }
    shared.set(runId, reply)
    write(run, reply)
  }
  return { runId, messageId: run.messageId }
}

const schema = createSchema({
  typeDefs: /* GraphQL */ `
    type Conversation { id: ID! title: String! model: String! createdAt: String! updatedAt: String! messageCount: Int! }
    type Query { conversations(first: Int!): [Conversation!]! }
    input SendMessageInput { conversationId: ID! text: String! }
    type SendMessagePayload { runId: ID! messageId: ID! }
    type Mutation { sendMessage(input: SendMessageInput!): SendMessagePayload! }
    type TextDelta { messageId: ID! offset: Int! text: String! }
    type RunFinished { messageId: ID! stopReason: String! outputTokens: Int! }
    union RunEvent = TextDelta | RunFinished
    type Subscription { runEvents(runId: ID!): RunEvent! }`,
  resolvers: {
    Query: { conversations: (_, { first }) => conversations.slice(0, first) },
    Mutation: { sendMessage },
    Subscription: {
      runEvents: {
        resolve: (event) => event,
        subscribe: (_, { runId }) => (SHARED_REPLIES ? readShared(shared.get(runId)) : think(prompts.get(runId))),
      },
    },
  },
})

const yoga = createYoga({ schema, graphiql: false, logging: 'warn' })
const server = createServer(yoga)
const sockets = new WebSocketServer({ server, path: '/graphql' })
useServer(
  {
    execute: (operation) => operation.rootValue.execute(operation),
    subscribe: (operation) => operation.rootValue.subscribe(operation),
    onSubscribe: async (context, _id, params) => {
      const { request: req, socket } = context.extra
      const enveloped = yoga.getEnveloped({ ...context, req, socket, params })
      const operation = {
        schema: enveloped.schema,
        operationName: params.operationName,
        document: enveloped.parse(params.query),
        variableValues: params.variables,
        contextValue: await enveloped.contextFactory(),
        rootValue: { execute: enveloped.execute, subscribe: enveloped.subscribe },
      }
      const errors = enveloped.validate(operation.schema, operation.document)
      return errors.length ? errors : operation
    },
  },
  sockets,
)
server.listen(Number(PORT), '127.0.0.1', 4096)
