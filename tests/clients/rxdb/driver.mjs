// What every script here shares: orders, checks, patience, a phone with RxDB on it, and a colleague at a desk.
import { addRxPlugin, createRxDatabase } from 'rxdb';
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory';
import { wrappedValidateAjvStorage } from 'rxdb/plugins/validate-ajv';
import { replicate } from './selvedge.mjs';

export const orders = JSON.parse(process.env.ORDERS);
const PATIENCE_MS = 20_000;
let failed = 0;

export function check(name, ok, seen) {
  if (!ok) failed += 1;
  console.log(JSON.stringify({ check: name, ok: Boolean(ok), at: Math.round(performance.now()), ...(ok ? {} : { seen }) }));
}

export function finish() {
  process.exit(0);
}

process.on('unhandledRejection', (reason) => {
  console.error('unhandled', reason);
  process.exit(3);
});

/** Waits until `ask()` is true; false when it does not come true. */
export async function until(ask, ms = PATIENCE_MS) {
  const end = Date.now() + ms;
  for (;;) {
    if (await ask()) return true;
    if (Date.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
}

export async function ask(who, query, variables = {}) {
  const answer = await fetch(`${orders.server}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${orders.users[who].token}` },
    body: JSON.stringify({ query, variables }),
  });
  return answer.json();
}

export async function told(who, query, variables) {
  const answer = await ask(who, query, variables);
  const text = JSON.stringify(answer);
  if (answer.errors || text.includes('"problems"')) throw new Error(text);
  return answer.data;
}

/** Ids that sort by the time they are made. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  new DataView(bytes.buffer).setBigUint64(0, BigInt(Date.now()) << 16n);
  bytes[6] = 0x70 | (crypto.getRandomValues(new Uint8Array(1))[0] & 0x0f);
  bytes[7] = crypto.getRandomValues(new Uint8Array(1))[0];
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

let phones = 0;

/** A phone: its database, its collections, and one replication for each. */
export class Phone {
  constructor(who) {
    this.who = who;
    this.pulls = [];
    this.pushes = [];
    this.errors = [];
    this.conflicts = [];
    this.replications = {};
    this.faults = {};
    const user = orders.users[who];
    this.session = { server: orders.server, userId: user.userId, token: () => user.token };
  }

  async open(names, { batchSize, live = true } = {}) {
    phones += 1;
    this.database = await createRxDatabase({
      name: `phone${phones}`,
      storage: wrappedValidateAjvStorage({ storage: getRxStorageMemory() }),
      multiInstance: false,
    });
    const made = {};
    for (const name of names) made[name] = { schema: orders.schemas[name].schema };
    this.collections = await this.database.addCollections(made);
    for (const name of names) this.start(name, { batchSize, live });
    return this;
  }

  start(name, { batchSize, live = true } = {}) {
    const replication = replicate(this.collections[name], this.session, orders.schemas, {
      live,
      autoStart: false,
      retryTime: 50,
      batchSize,
      fetch: (request) => this.fetch(name, request),
    });
    replication.error$.subscribe((error) => this.errors.push(error));
    replication.conflict$.subscribe((conflict) => this.conflicts.push(conflict));
    this.replications[name] = replication;
    replication.start();
    return replication;
  }

  /** The network: counts, loses answers after the server has done its work, or is down. */
  async fetch(name, request) {
    const body = await request.clone().json();
    const kind = body.operationName.startsWith('Push') ? 'push' : 'pull';
    if (this.faults.down) throw new Error('no signal');
    const response = await fetch(request);
    const answer = await response.json();
    const log = kind === 'push' ? this.pushes : this.pulls;
    log.push({ name, variables: body.variables, answer });
    if ((this.faults[`lose ${kind}`] ?? 0) > 0) {
      this.faults[`lose ${kind}`] -= 1;
      throw new Error('the answer was lost');
    }
    return { json: () => Promise.resolve(answer) };
  }

  async synced(...names) {
    for (const name of names.length ? names : Object.keys(this.replications)) {
      await this.replications[name].awaitInSync();
    }
  }

  async all(name) {
    return (await this.collections[name].find().exec()).map((found) => found.toJSON());
  }

  async one(name, id) {
    return (await this.collections[name].findOne(id).exec())?.toJSON() ?? null;
  }

  async edit(name, id, changes) {
    const found = await this.collections[name].findOne(id).exec();
    await found.incrementalPatch(changes);
  }

  async close() {
    await this.database.close();
  }
}

export { addRxPlugin };
