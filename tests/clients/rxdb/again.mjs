// Schemas as RxDB's own checks see them, worn-out tokens, and beginning again when a checkpoint is no longer good.
import { addRxPlugin, createRxDatabase } from 'rxdb';
import { RxDBDevModePlugin, disableWarnings } from 'rxdb/plugins/dev-mode';
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory';
import { wrappedValidateAjvStorage } from 'rxdb/plugins/validate-ajv';
import { Phone, check, finish, newId, orders, told, until } from './driver.mjs';
import { startAgain } from './selvedge.mjs';

const [shopId] = orders.shops;
const city = async () => (await told('manager', 'query($id: ID!) { customer(id: $id) { city } }', { id: shopId })).customer.city;

// -- a worn-out token is renewed, and nobody notices -------------------------------------------------------------
{
  const phone = new Phone('wei');
  const good = phone.session.token();
  let token = orders.users.wei.expired;
  let renewed = 0;
  phone.session.token = () => token;
  phone.session.renew = async () => {
    renewed += 1;
    token = good;
  };
  await phone.open(['customers']);
  await phone.synced();
  check('a worn-out token is renewed', renewed > 0 && (await phone.all('customers')).length === orders.shops.length, renewed);
  const { customer } = await told('manager', 'query($id: ID!) { customer(id: $id) { rev } }', { id: shopId });
  await told('manager', 'mutation($id: ID!, $rev: BigInt!) { updateCustomer(id: $id, baseRev: $rev, patch: {city: "Wuxi"}) { __typename ... on Refusal { problems { code } } } }', { id: shopId, rev: customer.rev });
  check('its stream is opened again with the new one', await until(async () => (await phone.one('customers', shopId)).city === 'Wuxi'));
  await phone.close();
}

// -- a checkpoint that is no longer good -------------------------------------------------------------------------
{
  const phone = await new Phone('wei').open(['customers', 'contacts']);
  await phone.synced();
  const codes = [];
  phone.session.startAgain = async (replication) => {
    codes.push(replication.collection.name);
    const made = await startAgain(replication, phone.session, orders.schemas, { retryTime: 50 });
    if (made) {
      phone.collections[made.collection.name] = made.collection;
      phone.replications[made.collection.name] = made;
    }
  };
  const person = newId();
  phone.faults.down = true;
  await phone.edit('customers', shopId, { city: 'written before the restore was known' });
  await phone.collections.contacts.insert({ id: person, nameEn: 'Made before too' });
  await fetch(`${orders.server}/test/epoch`, { method: 'POST' });
  phone.faults.down = false;
  for (const replication of Object.values(phone.replications)) replication.reSync();
  check('the app is told that its checkpoint is no longer good', await until(() => codes.includes('customers')), phone.errors.map((error) => error.parameters));
  check('what it held was handed in first', await until(async () => (await city()) === 'written before the restore was known'), await city());
  check('the collection is there again, whole', await until(async () => (await phone.all('customers')).length === orders.shops.length && (await phone.one('customers', shopId)).city === 'written before the restore was known'), (await phone.all('customers')).length);
  check('what was made here too', await until(async () => (await phone.one('contacts', person))?.rev > 0), await phone.one('contacts', person));
  await phone.edit('customers', shopId, { city: 'and after' });
  check('and work goes on', await until(async () => (await city()) === 'and after'));
  const { customer } = await told('manager', 'query($id: ID!) { customer(id: $id) { rev } }', { id: shopId });
  await told('manager', 'mutation($id: ID!, $rev: BigInt!) { updateCustomer(id: $id, baseRev: $rev, patch: {district: "Gusu"}) { __typename ... on Refusal { problems { code } } } }', { id: shopId, rev: customer.rev });
  check('with its stream', await until(async () => (await phone.one('customers', shopId)).district === 'Gusu'));
  await phone.close();
}

// -- the schemas, as RxDB's development mode judges them; last, because it stays on -------------------------------
{
  disableWarnings();
  addRxPlugin(RxDBDevModePlugin);
  const storage = wrappedValidateAjvStorage({ storage: getRxStorageMemory() });
  for (const [name, { schema }] of Object.entries(orders.schemas)) {
    const database = await createRxDatabase({ name: `schema${name.toLowerCase()}`, storage, multiInstance: false });
    const error = await database.addCollections({ [name]: { schema } }).then(() => null, (reason) => reason);
    check(`the schema of ${name} is sound`, error === null, String(error));
    await database.close();
  }
}
finish();
