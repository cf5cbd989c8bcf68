import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { OperationTypeNode } from "graphql";

import possibleTypes from "../../generated/possible-types";
import { endpoint } from "../../shared/endpoint";
import { socket } from "../../shared/socket";
import { fetchWithToken } from "../../shared/token";

export const client = new ApolloClient({
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(socket),
    new HttpLink({ uri: endpoint, fetch: fetchWithToken }),
  ),
  cache: new InMemoryCache({
    ...possibleTypes,
    typePolicies: {
      // Its id is the model's, and unique in its message only.
      ToolCallPart: { keyFields: false },
      // An event is no newer version of the one before it.
      MessageStreamEvent: { merge: false },
      ConversationStreamEvent: { merge: false },
    },
  }),
});
