// graphql-ws and graphql-sse as they come from npm, against a served company.
import { createClient as createStreams } from "graphql-sse";
import { createClient as createSocket } from "graphql-ws";
import WebSocket from "ws";

const { url, token, meHash } = JSON.parse(process.env.ORDERS);
const authorization = `Bearer ${token}`;
const POKE = { query: "subscription { syncPoke { clock } }" };
const byHash = { query: "", extensions: { persistedQuery: { version: 1, sha256Hash: meHash } } };

const say = (check, ok, seen) => console.log(JSON.stringify({ check, ok: Boolean(ok), seen: seen ?? null }));
async function all(client, payload) {
  const heard = [];
  for await (const result of client.iterate(payload)) heard.push(result);
  return heard;
}
async function failure(client, payload) {
  try {
    return { heard: await all(client, payload) };
  } catch (error) {
    return Array.isArray(error) ? { errors: error } : { error };
  }
}
async function first(client, payload) {
  const events = client.iterate(payload);
  const { value } = await events.next();
  await events.return();
  return value;
}

async function checksOf(name, client) {
  const [me] = await all(client, { query: "{ me { email } }" });
  say(`${name}: a query is answered once`, me.data.me.email, me);
  const [named] = await all(client, { query: "query A { a: __typename } query B { b: __typename }", operationName: "B" });
  say(`${name}: an operation is chosen by its name`, named.data.b === "Query", named);
  const [vary] = await all(client, { query: "query ($x: Boolean!) { __typename @skip(if: $x) serverTime }", variables: { x: true } });
  say(`${name}: variables arrive`, vary.data.serverTime && !("__typename" in vary.data), vary);
  const [pushed] = await all(client, { query: "mutation { syncReport(unsent: 0, refused: 0) { __typename } }" });
  say(`${name}: a mutation is answered`, pushed.data.syncReport.__typename === "SyncReported", pushed);
  const poke = await first(client, POKE);
  say(`${name}: a subscription tells and can be left`, Number.isInteger(poke.data.syncPoke.clock), poke);
  const several = await Promise.all([first(client, POKE), first(client, POKE), all(client, { query: "{ serverTime }" })]);
  say(`${name}: operations run beside each other`, several.length === 3, null);
  const bad = await failure(client, { query: "{ nothing }" });
  const codes = (bad.errors ?? bad.heard?.[0]?.errors ?? []).map((error) => error.extensions.code);
  say(`${name}: a bad document is told`, codes[0] === "BAD_REQUEST", bad);
  const [after] = await all(client, { query: "{ __typename }" });
  say(`${name}: after it the connection goes on`, after.data.__typename === "Query", after);
  const [hashed] = await all(client, byHash);
  say(`${name}: a trusted document is asked for by its hash`, hashed.data?.me?.email, hashed);
}

const opened = [];
const socket = createSocket({
  url: url.replace("http", "ws"),
  webSocketImpl: WebSocket,
  connectionParams: { authorization },
  retryAttempts: 0,
  lazyCloseTimeout: 5_000,
  keepAlive: 200,
  on: { opened: (made) => opened.push(made), pong: (received) => received && opened.pongs++ },
});
opened.pongs = 0;
await checksOf("graphql-ws", socket);
say("graphql-ws: all on one connection, in the protocol asked for", opened.length === 1 && opened[0].protocol === "graphql-transport-ws");
const held = socket.iterate(POKE);
await held.next();
for (let waited = 0; opened.pongs === 0 && waited < 100; waited++) await new Promise((done) => setTimeout(done, 50));
say("graphql-ws: its pings are answered", opened.pongs > 0);
await held.return();
await socket.dispose();

const strangers = createSocket({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: 0 });
const turned = await failure(strangers, POKE);
say("graphql-ws: who has no token is closed with 4403", turned.error?.code === 4403, { code: turned.error?.code });

const streams = createStreams({ url: `${url}/stream`, headers: { authorization }, retryAttempts: 0 });
await checksOf("graphql-sse", streams);
const closed = createStreams({ url: `${url}/stream`, retryAttempts: 0 });
const shut = await failure(closed, POKE);
say("graphql-sse: who has no token is answered 401", shut.error?.response?.status === 401, { status: shut.error?.response?.status });
const shared = createStreams({ url: `${url}/stream`, singleConnection: true, headers: { authorization }, retryAttempts: 0 });
const reserved = await failure(shared, POKE);
say("graphql-sse: one shared connection is refused", reserved.error?.response?.status === 405, { status: reserved.error?.response?.status });
