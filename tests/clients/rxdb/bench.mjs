// How long RxDB takes for a first sync.
import { createRxDatabase } from 'rxdb';
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory';
import { replicate } from './selvedge.mjs';

const { server, users, schemas, batchSize } = JSON.parse(process.env.ORDERS);
const database = await createRxDatabase({ name: 'bench', storage: getRxStorageMemory(), multiInstance: false });
const { customers } = await database.addCollections({ customers: { schema: schemas.customers.schema } });
const began = performance.now();
const replication = replicate(customers, { server, userId: users.rep.userId, token: () => users.rep.token }, schemas, { batchSize });
await replication.awaitInitialReplication();
const all = performance.now() - began;
console.log(JSON.stringify({ all, rows: await customers.count().exec() }));
process.exit(0);
