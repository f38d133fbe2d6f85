// Two reps and their manager: what they see on their phones, with RxDB as it comes from npm.
import { Phone, ask, check, finish, newId, orders, told, until } from './driver.mjs';

const ALL = ['customers', 'contacts', 'customerContacts', 'visits', 'orders', 'tasks', 'syncIssues'];
const { north, south } = orders.patches;
const [shopId] = orders.shops;

const wei = await new Phone('wei').open(ALL);
const na = await new Phone('na').open(['customers', 'contacts', 'syncIssues']); // RxDB opens 16 collections at most
await wei.synced();
await na.synced();

// -- the first pull ---------------------------------------------------------------------------------------------
{
  const held = await wei.all('customers');
  check('first pull brings every customer of the territory', held.length === orders.shops.length, held.length);
  check('and of no other', (await na.all('customers')).length === orders.southern.length);
  const pages = wei.pulls.filter((pull) => pull.name === 'customers').map((pull) => Object.values(pull.answer.data)[0].documents.length);
  check('in full pages but the last', pages.slice(0, 2).join() === '200,' + (orders.shops.length - 200), pages);
  const small = await new Phone('manager').open(['customers'], { batchSize: 7 });
  await small.synced();
  check('pages of seven bring the same', (await small.all('customers')).length === orders.shops.length + orders.southern.length);
  const sizes = small.pulls.map((pull) => Object.values(pull.answer.data)[0].documents.length);
  check('each of them full', sizes.slice(0, 40).every((size) => size === 7), sizes);
  const ids = small.pulls.flatMap((pull) => Object.values(pull.answer.data)[0].documents.map((found) => found.id));
  check('and no record twice', new Set(ids).size === ids.length);
  check('a document carries its revision', Number.isInteger(held[0].rev) && held[0].nameEn.startsWith('Shop'), held[0]);
  check('lists and maps come as they are', Array.isArray(held[0].tags) && typeof held[0].openHours === 'object', held[0]);
  await small.close();
}

// -- push ---------------------------------------------------------------------------------------------------------
const contactId = newId();
const linkId = newId();
{
  await wei.collections.contacts.insert({ id: contactId, nameZh: '王五', phone: '13800138000', channels: { WECHAT: 'wangwu' } });
  await wei.collections.customerContacts.insert({ id: linkId, customerId: shopId, contactId, role: 'BUYER', isPrimary: true });
  check('what is made here gets its revision', await until(async () => (await wei.one('contacts', contactId))?.rev > 0));
  const made = await wei.one('contacts', contactId);
  check('and what only the server writes', made.searchKeys?.includes('ww') && made.createdAt !== null, made);
  check('a renamed field goes both ways', await until(async () => (await wei.one('customerContacts', linkId))?.isPrimary === true && (await wei.one('customerContacts', linkId)).rev > 0));
  const online = await told('manager', 'query($id: ID!) { contact(id: $id) { nameZh channels } }', { id: contactId });
  check('the record stands on the server', online.contact?.nameZh === '王五', online);
  const rev = (await wei.one('contacts', contactId)).rev;
  await wei.edit('contacts', contactId, { nameKo: '왕오' });
  check('an edit goes up', await until(async () => (await wei.one('contacts', contactId)).rev > rev));
  check('without a conflict', wei.conflicts.length === 0, wei.conflicts.map((found) => found.output));
}

// -- live stream ------------------------------------------------------------------------------------------------
{
  const before = wei.pulls.length;
  const { contact } = await told('manager', 'query($id: ID!) { contact(id: $id) { rev } }', { id: contactId });
  await told('manager', 'mutation($id: ID!, $rev: BigInt!) { updateContact(id: $id, baseRev: $rev, patch: {notes: "likes linen"}) { __typename ... on Refusal { problems { code } } } }', { id: contactId, rev: contact.rev });
  check('what a colleague writes arrives by itself', await until(async () => (await wei.one('contacts', contactId)).notes === 'likes linen'));
  check('through the stream, without a pull', wei.pulls.length === before, wei.pulls.length - before);
}

// -- two people change other fields, then the same --------------------------------------------------------------
async function apart(phone, work) {
  phone.faults.down = true;
  await work();
  phone.faults.down = false;
}
async function online(who, change) {
  const { customer } = await told(who, 'query($id: ID!) { customer(id: $id) { rev } }', { id: shopId });
  await told(who, 'mutation($id: ID!, $rev: BigInt!, $patch: CustomerPatch!) { updateCustomer(id: $id, baseRev: $rev, patch: $patch) { __typename ... on Refusal { problems { code } } } }', { id: shopId, rev: customer.rev, patch: change });
}
{
  const manager = await new Phone('manager').open(['customers', 'syncIssues']);
  await manager.synced();
  wei.conflicts.length = 0;
  await apart(wei, async () => {
    await wei.edit('customers', shopId, { city: 'Suzhou' });
    await manager.edit('customers', shopId, { district: 'Gusu' });
    await manager.synced('customers');
    await until(async () => (await told('manager', 'query($id: ID!) { customer(id: $id) { district } }', { id: shopId })).customer.district === 'Gusu');
  });
  const both = async (phone) => {
    const found = await phone.one('customers', shopId);
    return found.city === 'Suzhou' && found.district === 'Gusu';
  };
  check('disjoint edits: both stand on the one phone', await until(() => both(wei)), await wei.one('customers', shopId));
  check('disjoint edits: and on the other', await until(() => both(manager)));
  check('disjoint edits: no conflict is shown', wei.conflicts.length + manager.conflicts.length === 0);
  check('disjoint edits: no issue is kept', (await wei.all('syncIssues')).length === 0, await wei.all('syncIssues'));

  await apart(wei, async () => {
    await wei.edit('customers', shopId, { street: 'from the rep' });
    await online('manager', { street: 'from the manager' });
    await until(async () => (await manager.one('customers', shopId)).street === 'from the manager');
  });
  check('the same field: the master stands', await until(async () => (await wei.one('customers', shopId)).street === 'from the manager'));
  check('the same field: the conflict was told', await until(() => wei.conflicts.length === 1), wei.conflicts.length);
  check('the same field: the losing value is kept', await until(async () => (await wei.all('syncIssues')).some((issue) => issue.code === 'CONFLICT' && issue.field === 'street' && JSON.stringify(issue.mine).includes('from the rep'))), await wei.all('syncIssues'));
  check('the same field: once', (await wei.all('syncIssues')).length === 1);
  check('the same field: his manager sees it too', await until(async () => (await manager.all('syncIssues')).length === 1));
  await wei.edit('customers', shopId, { street: 'and so it is' });
  check('the next edit stands', await until(async () => (await manager.one('customers', shopId)).street === 'and so it is'));
  await manager.close();
}

// -- order lines, cell by cell --------------------------------------------------------------------------------
{
  const { styleId, colourId, skus } = orders.article;
  const orderId = newId();
  const lineId = newId();
  await wei.collections.orders.insert({ id: orderId, customerId: shopId, repId: wei.session.userId, currency: 'CNY', lines: [{ id: lineId, styleId, colourId, unitPriceMinor: 1000, cells: { [skus[0]]: 2, [skus[1]]: 3 } }] });
  check('an order with its cells goes up', await until(async () => (await wei.one('orders', orderId))?.units === 5), [await wei.one('orders', orderId), await wei.all('syncIssues')]);
  const second = await new Phone('wei2').open(['orders']);
  await second.synced();
  const cells = (found) => found.lines[0].cells;
  await apart(wei, async () => {
    const mine = structuredClone((await wei.one('orders', orderId)).lines);
    mine[0].cells[skus[0]] = 7;
    await wei.edit('orders', orderId, { lines: mine });
    const theirs = structuredClone((await second.one('orders', orderId)).lines);
    delete theirs[0].cells[skus[1]];
    theirs[0].cells[skus[2]] = 4;
    await second.edit('orders', orderId, { lines: theirs });
    await until(async () => (await second.one('orders', orderId)).units === 6);
  });
  const wanted = JSON.stringify({ [skus[0]]: 7, [skus[2]]: 4 });
  const stands = async (phone) => {
    const found = cells(await phone.one('orders', orderId));
    return JSON.stringify(Object.fromEntries(Object.entries(found).sort())) === JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(wanted)).sort()));
  };
  check('other cells of one order: both win', await until(() => stands(wei)), cells(await wei.one('orders', orderId)));
  check('other cells of one order: on both phones', await until(() => stands(second)));
  const units = (await wei.one('orders', orderId)).units;
  check('and the sum is the server\'s', await until(async () => (await wei.one('orders', orderId)).units === 11), units);
  await wei.edit('orders', orderId, { lines: [] });
  check('a line taken away is away', await until(async () => (await second.one('orders', orderId)).lines.length === 0), await second.one('orders', orderId));
  await second.close();
}

// -- visits and tasks --------------------------------------------------------------------------------------------
{
  const visitId = newId();
  const taskId = newId();
  await wei.collections.visits.insert({ id: visitId, customerId: shopId, repId: wei.session.userId, plannedAt: '2026-12-01T02:00:00.000Z', purpose: 'SELL' });
  await wei.collections.tasks.insert({ id: taskId, customerId: shopId, title: 'Send the lookbook' });
  check('a visit goes up', await until(async () => (await wei.one('visits', visitId))?.state === 'PLANNED'));
  check('a task goes up', await until(async () => (await wei.one('tasks', taskId))?.state === 'OPEN'));
  await wei.edit('visits', visitId, { state: 'CANCELLED', outcomeReason: null, reason: 'CUSTOMER_CANCELLED' }).catch(() => wei.edit('visits', visitId, { state: 'CANCELLED' }));
  await wei.edit('tasks', taskId, { state: 'DONE' });
  check('a task is done', await until(async () => (await wei.one('tasks', taskId))?.doneAt), await wei.one('tasks', taskId));
  const issues = (await wei.all('syncIssues')).length;
  await (await wei.collections.tasks.findOne(taskId).exec()).remove();
  check('what he may not take away comes back', await until(async () => (await wei.one('tasks', taskId))?.state === 'DONE'), await wei.one('tasks', taskId));
  check('and he is told why', await until(async () => (await wei.all('syncIssues')).length === issues + 1), await wei.all('syncIssues'));
  const admin = await new Phone('admin').open(['tasks']);
  await admin.synced();
  await (await admin.collections.tasks.findOne(taskId).exec()).remove();
  check('a task taken away on one phone goes from the other', await until(async () => (await wei.one('tasks', taskId)) === null));
  check('and from the server', (await told('manager', 'query($id: ID!) { task(id: $id) { id } }', { id: taskId })).task === null);
  await admin.close();
}

// -- a new shop, its contact and its visit, all without signal ---------------------------------------------------
{
  const newShop = newId();
  const firstVisit = newId();
  const person = newId();
  const link = newId();
  const issues = (await wei.all('syncIssues')).length;
  await apart(wei, async () => {
    await wei.collections.visits.insert({ id: firstVisit, customerId: newShop, repId: wei.session.userId, plannedAt: '2026-12-02T02:00:00.000Z', purpose: 'PROSPECT' });
    await wei.collections.customerContacts.insert({ id: link, customerId: newShop, contactId: person, role: 'OWNER' });
    await wei.collections.contacts.insert({ id: person, nameKo: '김민서' });
    await wei.collections.customers.insert({ id: newShop, nameEn: 'New door', kind: 'RETAILER' });
  });
  check('a new shop and what hangs on it arrive in whatever order', await until(async () => (await wei.one('visits', firstVisit))?.rev > 0 && (await wei.one('customerContacts', link))?.rev > 0 && (await wei.one('customers', newShop))?.rev > 0), [await wei.one('visits', firstVisit), await wei.one('customerContacts', link), await wei.one('customers', newShop)]);
  check('and nothing of it is an issue', (await wei.all('syncIssues')).length === issues, await wei.all('syncIssues'));
}

// -- lost answers ------------------------------------------------------------------------------------------------
{
  const id = newId();
  const issues = (await wei.all('syncIssues')).length;
  wei.faults['lose push'] = 2;
  await wei.collections.contacts.insert({ id, nameEn: 'Said twice', channels: {} });
  check('a push whose answer was lost twice arrives once', await until(async () => (await wei.one('contacts', id))?.rev > 0 && wei.faults['lose push'] === 0), await wei.one('contacts', id));
  await wei.synced('contacts');
  wei.faults['lose push'] = 1;
  await wei.edit('contacts', id, { notes: 'one line' });
  check('an edit whose answer was lost is not made twice', await until(async () => wei.faults['lose push'] === 0 && (await wei.one('contacts', id)).notes === 'one line') && (await told('wei', 'query($id: ID!) { contact(id: $id) { notes } }', { id })).contact.notes === 'one line');
  await wei.synced('contacts');
  check('lost answers leave no issue', (await wei.all('syncIssues')).length === issues, await wei.all('syncIssues'));
  wei.faults['lose pull'] = 3;
  await online('manager', { postcode: '215001' });
  wei.replications.customers.reSync();
  check('pulls whose answers were lost are asked again', await until(async () => wei.faults['lose pull'] === 0 && (await wei.one('customers', shopId)).postcode === '215001'));
  // the answer is lost, a colleague writes another field, and the phone hears of that before it sends again
  wei.faults['lose push'] = 1;
  await apart(wei, () => wei.edit('customers', shopId, { code: 'C-7' }));
  await until(() => wei.faults['lose push'] === 0);
  await online('manager', { province: 'Jiangsu' });
  wei.replications.customers.reSync();
  check('what came in between is not lost', await until(async () => { const found = await wei.one('customers', shopId); return found.code === 'C-7' && found.province === 'Jiangsu'; }), await wei.one('customers', shopId));
}

// -- scope: a customer moves away and back ----------------------------------------------------------------------
const MOVE = 'mutation($moves: [CustomerMove!]!) { moveCustomers(moves: $moves) { __typename ... on Refusal { problems { code } } } }';
{
  await told('manager', MOVE, { moves: [{ customerId: shopId, territoryId: south }] });
  check('a customer that moves away disappears', await until(async () => (await wei.one('customers', shopId)) === null));
  check('with what hangs on it', await until(async () => (await wei.one('contacts', contactId)) === null && (await wei.one('customerContacts', linkId)) === null));
  check('and comes to the colleague', await until(async () => (await na.one('customers', shopId))?.city === 'Suzhou' && (await na.one('contacts', contactId)) !== null));
  await told('manager', MOVE, { moves: [{ customerId: shopId, territoryId: north }] });
  check('it comes back', await until(async () => (await wei.one('customers', shopId))?.city === 'Suzhou' && (await wei.one('contacts', contactId)) !== null && (await wei.one('customerContacts', linkId)) !== null));
  check('and leaves the colleague', await until(async () => (await na.one('customers', shopId)) === null && (await na.one('contacts', contactId)) === null));
  await wei.edit('customers', shopId, { district: 'Wuzhong' });
  check('and can be edited again', await until(async () => (await told('manager', 'query($id: ID!) { customer(id: $id) { district } }', { id: shopId })).customer.district === 'Wuzhong'));
}

// -- scope: territories are given and taken ---------------------------------------------------------------------
{
  const seat = { userId: wei.session.userId, territoryId: south };
  const count = async () => (await wei.all('customers')).length;
  const before = await count();
  await told('manager', 'mutation($userId: ID!, $territoryId: ID!) { grantTerritory(userId: $userId, territoryId: $territoryId) { __typename ... on Refusal { problems { code } } } }', seat);
  check('a territory given brings its customers', await until(async () => (await count()) === before + orders.southern.length), await count());
  await told('manager', 'mutation($userId: ID!, $territoryId: ID!) { revokeTerritory(userId: $userId, territoryId: $territoryId) { __typename ... on Refusal { problems { code } } } }', seat);
  check('a territory taken takes them', await until(async () => (await count()) === before), await count());
  // both while the phone hears nothing: the scope was away and is back
  wei.faults.down = true;
  const other = orders.southern[0];
  await told('manager', 'mutation($userId: ID!, $territoryId: ID!) { grantTerritory(userId: $userId, territoryId: $territoryId) { __typename ... on Refusal { problems { code } } } }', seat);
  await until(async () => (await count()) === before + orders.southern.length, 500);
  await told('manager', 'mutation($userId: ID!, $territoryId: ID!) { revokeTerritory(userId: $userId, territoryId: $territoryId) { __typename ... on Refusal { problems { code } } } }', seat);
  wei.faults.down = false;
  check('given and taken leaves nothing behind', await until(async () => (await count()) === before && (await wei.one('customers', other)) === null), await count());
}

// -- what is refused ------------------------------------------------------------------------------------------
{
  const bad = newId();
  const issues = (await wei.all('syncIssues')).length;
  wei.faults['lose push'] = 2;
  await wei.collections.tasks.insert({ id: bad, customerId: shopId, title: 'not his to give', assigneeId: na.session.userId });
  check('a refused record disappears', await until(async () => (await wei.one('tasks', bad)) === null));
  check('its reason is kept', await until(async () => (await wei.all('syncIssues')).some((issue) => issue.recordId === bad && JSON.stringify(issue.mine).includes('not his to give'))), await wei.all('syncIssues'));
  await wei.synced();
  check('once, however often it came', (await wei.all('syncIssues')).length === issues + 1, (await wei.all('syncIssues')).length - issues);
  await wei.edit('customers', shopId, { geofenceM: -5 });
  check('a refused edit takes the master again', await until(async () => (await wei.one('customers', shopId)).geofenceM > 0), await wei.one('customers', shopId));
  check('and is kept too', await until(async () => (await wei.all('syncIssues')).length === issues + 2), await wei.all('syncIssues'));
  check('no error was told for it', wei.errors.every((error) => String(JSON.stringify(error.parameters)).match(/lost|signal|BUSY/)), wei.errors.map((error) => String(JSON.stringify(error.parameters) ?? error.stack)).filter((text) => !text.match(/lost|signal|BUSY/)));
}

// -- deleted elsewhere ------------------------------------------------------------------------------------------
{
  const remove = (id) => told('admin', 'mutation($id: ID!) { deleteContact(id: $id) { __typename ... on Refusal { problems { code } } } }', { id });
  const issues = (await wei.all('syncIssues')).length;
  await apart(wei, async () => {
    // written first: an open stream may tell of the deletion at any moment
    await wei.edit('contacts', contactId, { notes: 'written too late' });
    await remove(contactId);
  });
  check('deleted elsewhere, edited here: it goes', await until(async () => (await wei.one('contacts', contactId)) === null));
  check('and the edit is kept', await until(async () => (await wei.all('syncIssues')).length > issues), await wei.all('syncIssues'));
  const again = newId();
  await wei.collections.contacts.insert({ id: again, nameEn: 'Once' });
  await until(async () => (await wei.one('contacts', again))?.rev > 0);
  await wei.collections.customerContacts.insert({ id: newId(), customerId: shopId, contactId: again, role: 'AP' });
  await wei.synced();
  await until(async () => (await ask('manager', 'query($id: ID!) { contact(id: $id) { id } }', { id: again })).data.contact !== null);
  await remove(again);
  check('deleted elsewhere: it goes', await until(async () => (await wei.one('contacts', again)) === null));
}

// -- everybody holds what he may see -----------------------------------------------------------------------------
for (const phone of [wei, na]) {
  const { customers } = await told(phone.who, 'query { customers(first: 1) { totalCount } }').catch(() => ({ customers: null }));
  const held = await phone.all('customers');
  if (customers) check(`${phone.who} holds as many customers as he sees`, held.length === customers.totalCount, [held.length, customers.totalCount]);
}
check('no phone was told of another user\'s', wei.session.userId !== na.session.userId && (await na.all('syncIssues')).length === 0, await na.all('syncIssues'));
await wei.close();
await na.close();
finish();
