// How GraphiQL asks: queries and mutations by POST, subscriptions over the connection chosen in the bar.
import { getOperationAST, parse } from "graphql";
import { createClient as createStreams } from "graphql-sse";
import { createClient as createSocket } from "graphql-ws";

const CLIENT = { "x-client-name": "graphiql", "x-client-version": "5" };

export function makeFetcher(path, session, ways) {
  const address = new URL(path, location.href);

  async function headersOf(options) {
    const authorization = await session.authorization();
    return { ...CLIENT, ...(authorization ? { authorization } : {}), ...options?.headers };
  }

  function events(params, options) {
    if (ways.by === "sse") {
      const streams = createStreams({ url: `${address}/stream`, headers: () => headersOf(options) });
      return streams.iterate(params);
    }
    const socketAddress = address.href.replace(/^http/, "ws");
    const socket = createSocket({ url: socketAddress, connectionParams: () => headersOf(options), retryAttempts: 0 });
    return closing(socket.iterate(params), () => socket.dispose());
  }

  return async function fetcher(params, options) {
    const document = options?.documentAST ?? parse(params.query);
    const operation = getOperationAST(document, params.operationName);
    if (operation?.operation === "subscription") return events(params, options);
    const answer = await fetch(address, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/graphql-response+json, application/json;q=0.9",
        ...(await headersOf(options)),
      },
      body: JSON.stringify(params),
    });
    return answer.json();
  };
}

async function* closing(events, close) {
  try {
    yield* events;
  } finally {
    close();
  }
}
