// WatermelonDB as it comes from npm against a served Selvedge. One line of JSON per check.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Phone, pageOf, post } from './phone.mjs'

const require = createRequire(import.meta.url)
const { schemaMigrations, createTable, addColumns } = require('@nozbe/watermelondb/Schema/migrations')
const orders = JSON.parse(process.env.ORDERS)
const { server, users, patches, shelf, folder, kind } = orders
const page = pageOf(orders.page)
const schema = JSON.parse(readFileSync(orders.schema, 'utf8'))
let failed = 0

function check(name, ok, told) {
  if (!ok) failed += 1
  console.log(JSON.stringify({ check: name, ok: Boolean(ok), ...(ok ? {} : { told }) }))
}
const same = async (name, phone) => {
  const wrong = await phone.differs()
  check(name, wrong.length === 0, wrong.slice(0, 5))
}
let made = 0
const phone = (who, more = {}) =>
  new Phone({ page, server, user: users[who], kind, folder, name: `phone${(made += 1)}`, schema, ...more })
const id = () => randomUUID()
const as = (who, query, variables) => post(server, users[who].token, query, variables)
const move = (customerId, patch) => as('manager',
  'mutation ($moves: [CustomerMove!]!) { moveCustomers(moves: $moves) { __typename ... on Refusal { problems { code path } } } }',
  { moves: [{ customerId, territoryId: patches[patch] }] })
const seat = (verb, who, patch) => as('admin',
  `mutation ($u: ID!, $t: ID!) { ${verb}Territory(userId: $u, territoryId: $t) { __typename } }`,
  { u: users[who].userId, t: patches[patch] })
const shop = (fields = {}) => ({ nameEn: 'Corner Shop', kind: 'RETAILER', currency: 'CNY', priceListId: shelf.priceList, ...fields })
const issues = async (who, recordId) => {
  const { watermelonPull } = await as(who, '{ watermelonPull(schemaVersion: 1, tables: ["syncIssues"]) { changes } }')
  return watermelonPull.changes.syncIssues.updated.filter((row) => row.recordId === recordId)
}

// -- first sync, delta, push --
const a = phone('wei')
const b = phone('wei2')
await a.sync()
check('a first sync brings rows', (await a.table('customers').query().fetch()).length >= orders.shops.length)
check('a first sync takes nothing away', Object.values(a.pulls.at(-1).changes).every((one) => one.deleted.length === 0))
check('nothing comes as created', Object.values(a.pulls.at(-1).changes).every((one) => one.created.length === 0))
await same('after a first sync a phone holds what a fresh one would', a)
await b.sync()
await a.sync()
const counted = ({ changes }) => Object.values(changes).reduce((n, one) => n + one.updated.length + one.deleted.length, 0)
check('without changes a delta is empty', counted(a.pulls.at(-1)) === 0, a.pulls.at(-1))

const x = { customer: id(), contact: id(), link: id(), visit: id(), order: id(), task: id(), line: id() }
await a.create('customers', x.customer, shop({ tags: '["new"]' }))
await a.create('contacts', x.contact, { nameEn: 'Min', channels: '{"CALL":"+8613800138000"}' })
await a.create('customerContacts', x.link, { customerId: x.customer, contactId: x.contact, role: 'BUYER', primary: true })
await a.create('visits', x.visit, { customerId: x.customer, state: 'PLANNED', plannedAt: orders.now + 3_600_000 })
const line = (cells) => ({ id: x.line, styleId: shelf.style, colourId: shelf.colour, unitPriceMinor: 1, cells })
await a.create('orders', x.order, {
  customerId: x.customer, currency: 'CNY', lines: JSON.stringify([line({ [shelf.small]: 2, [shelf.medium]: 3 })]),
})
await a.create('tasks', x.task, { customerId: x.customer, title: 'Send the book' })
await a.sync()
check('a push of six tables is taken', a.pushes.at(-1).answer.ok === true, a.pushes.at(-1).answer)
await a.sync()
await same('what the server added comes back', a)
check('totals are the servers', (await a.row('orders', x.order)).totalMinor === 50_000, await a.row('orders', x.order))
await b.sync()
check('another phone of his has it', (await b.row('visits', x.visit))?.plannedAt === orders.now + 3_600_000)
check('a list is JSON text', (await b.row('customers', x.customer)).tags === '["new"]')
check('a boolean is a boolean', (await b.row('customerContacts', x.link)).primary === true)
await a.update('visits', x.visit, { nextStep: 'call' })
await a.sync()
await b.sync()
check('an update arrives', (await b.row('visits', x.visit)).nextStep === 'call')
check('a delta is as small as the change', counted(b.pulls.at(-1)) <= 3, counted(b.pulls.at(-1)))
check('only changed columns are named', a.pushes.at(-1).variables.changes.visits.updated[0]._changed === 'nextStep')
await a.sync()
await same('afterwards the one equals a fresh one', a)
await same('afterwards the other equals a fresh one', b)

// -- deleting: a rep may not, an administrator may --
await a.remove('tasks', x.task)
const forbidden = await a.failing()
check('a deletion that is not allowed names the row', forbidden?.code === 'NOT_PERMITTED'
  && JSON.stringify(forbidden.problems[0].path) === JSON.stringify(['tasks', 'deleted', x.task]), forbidden)
await page.letGo(a.database, a.ask, forbidden.problems)
check('what may not be deleted comes back', (await a.row('tasks', x.task))?.title === 'Send the book')
const m = phone('admin')
const w = phone('admin2')
await m.sync()
await m.remove('tasks', x.task)
await m.sync()
await a.sync()
await w.sync()
check('a deletion arrives', (await a.row('tasks', x.task)) === undefined && (await w.row('tasks', x.task)) === undefined)
const d1 = id()
await m.create('tasks', d1, { title: 'never sent' })
await m.remove('tasks', d1)
check('made and deleted before any push is no error', (await m.failing()) === undefined)
const d2 = id()
await m.create('tasks', d2, { title: 'sent, answer lost' })
m.losing = 'push'
check('a lost answer fails the sync', (await m.failing())?.message === 'the answer was lost')
await m.remove('tasks', d2)
await m.sync()
await w.sync()
check('deleted after a lost answer stays deleted here', (await m.row('tasks', d2)) === undefined)
check('deleted after a lost answer is deleted there', (await w.row('tasks', d2)) === undefined)
m.losing = 'push'
const d3 = id()
await m.create('tasks', d3, { title: 'deleted with a lost answer' })
await m.failing()
await m.sync()
await m.remove('tasks', d3)
m.losing = 'push'
await m.failing()
check('a deletion told twice is no error', (await m.failing()) === undefined)
await w.sync()
check('a deletion told twice is done', (await w.row('tasks', d3)) === undefined)
await m.sync()
await same('after deleting what was just made', m)

// -- lost answers --
const l1 = id()
await a.create('tasks', l1, { title: 'once only' })
await a.update('customers', x.customer, { city: 'Hangzhou' })
a.losing = 'push'
await a.failing()
await a.update('tasks', l1, { title: 'once only, corrected' })
await a.sync()
await b.sync()
check('a repeated push ends in the same state', (await b.row('customers', x.customer)).city === 'Hangzhou')
check('what was changed after the lost answer arrives', (await b.row('tasks', l1)).title === 'once only, corrected')
check('a record told twice exists once', (await b.table('tasks').query().fetch()).filter((one) => one.id === l1).length === 1)
const { variables: repeated } = a.pushes.at(-1)
const pushText = 'mutation ($changes: JSON!, $at: Float!) { watermelonPush(changes: $changes, lastPulledAt: $at) { __typename ... on Refusal { problems { code path } } } }'
const thrice = [1, 2].map(() => as('wei', pushText, repeated))
check('the very same push at once and twice is taken', (await Promise.all(thrice)).every((one) => one.watermelonPush.__typename === 'WatermelonPushed'), await Promise.all(thrice))
a.losing = 'pull'
await b.update('tasks', l1, { title: 'by the other phone' })
await b.sync()
check('a lost pull fails the sync', (await a.failing()) !== undefined)
await a.sync()
check('after a lost pull the next one brings it', (await a.row('tasks', l1)).title === 'by the other phone')
await a.sync()
await same('after lost answers', a)

// -- disjoint edits, conflicts --
await b.sync()
await a.update('customers', x.customer, { district: 'Xihu' })
await b.update('customers', x.customer, { street: 'Wulin Road' })
a.beforePush = () => b.sync()
check('disjoint edits meet without a conflict', (await a.failing()) === undefined)
await a.sync()
await b.sync()
const both = await b.row('customers', x.customer)
check('disjoint edits both stand', both.district === 'Xihu' && both.street === 'Wulin Road', both)
check('disjoint edits leave no issue', (await issues('wei', x.customer)).length === 0)
const c1 = id()
await a.update('visits', x.visit, { nextStep: 'mine' })
await a.create('tasks', c1, { title: 'in the same push' })
await b.update('visits', x.visit, { nextStep: 'theirs' })
a.beforePush = () => b.sync()
const conflict = await a.failing()
check('the same column conflicts', conflict?.code === 'CONFLICT', conflict)
check('a conflict names table, id and column', JSON.stringify(conflict?.problems?.[0].path) === JSON.stringify(['visits', 'updated', x.visit, 'nextStep']), conflict?.problems)
await b.sync()
check('a conflict aborts the whole push', (await b.row('tasks', c1)) === undefined)
check('what was there before the conflict stands', (await b.row('visits', x.visit)).nextStep === 'theirs')
const [kept, ...more] = await issues('wei', x.visit)
check('both values are kept', kept?.mine === '"mine"' && kept?.theirs === '"theirs"' && more.length === 0, [kept, more])
check('the retry goes through', (await a.failing()) === undefined)
await b.sync()
check('the client resolved by its own rule', (await b.row('visits', x.visit)).nextStep === 'mine')
check('the rest of the push went with it', (await b.row('tasks', c1))?.title === 'in the same push')
check('the issue is settled', (await issues('wei', x.visit)).every((one) => one.state === 'RESOLVED'))
await a.sync()
await same('after a conflict', a)

// -- parts of an order --
await b.sync()
const lines = JSON.parse((await a.row('orders', x.order)).lines)
const cells = (small, medium) => [{ ...lines[0], cells: { [shelf.small]: small, [shelf.medium]: medium } }]
await a.setNested('orders', x.order, 'lines', cells(20, 3))
await b.setNested('orders', x.order, 'lines', cells(2, 30))
await b.sync()
check('different cells of one order: the second push is taken', (await a.failing()) === undefined)
await a.sync()
await b.sync()
for (const one of [a, b]) {
  const stands = JSON.parse((await one.row('orders', x.order)).lines)[0].cells
  check('different cells of one order both win', stands[shelf.small] === 20 && stands[shelf.medium] === 30, stands)
}
const l2 = id()
await a.setNested('orders', x.order, 'lines', [...cells(20, 30), { ...line({ [shelf.small]: 5 }), id: l2 }])
await a.sync()
await a.sync()
await a.setNested('orders', x.order, 'lines', JSON.parse((await a.row('orders', x.order)).lines).filter((one) => one.id !== l2))
await a.sync()
await a.sync()
check('a line is added and taken away', JSON.parse((await a.row('orders', x.order)).lines).length === 1, await a.row('orders', x.order))
check('a base is empty again', (await a.row('orders', x.order)).linesBase === null)
await same('after editing an order', a)

// -- what is refused --
await a.update('visits', x.visit, { state: 'COMPLETED' })
await a.update('customers', x.customer, { city: 'Suzhou' })
for (let n = 0; n < 3; n += 1) {
  const refused = await a.failing()
  check('a refusal is typed and names the row', refused?.problems?.every((one) => one.path[0] === 'visits' && one.path[2] === x.visit) && refused.code === 'EVIDENCE_MISSING', refused?.problems)
}
await b.sync()
check('a refusal aborts the whole push', (await b.row('customers', x.customer)).city === 'Hangzhou')
const refusals = (await issues('wei', x.visit)).filter((one) => one.state === 'OPEN')
check('what was refused is kept once', refusals.length === 1 && refusals[0].code === 'EVIDENCE_MISSING', refusals)
await page.letGo(a.database, a.ask, (await a.failing()).problems)
check('the row let go of is the servers again', (await a.row('visits', x.visit)).state === 'PLANNED')
await b.sync()
check('the rest of the push stands then', (await b.row('customers', x.customer)).city === 'Suzhou')
await a.sync()
await same('after letting go', a)

// -- scopes --
const n = phone('na')
await n.sync()
check('a colleague of another territory has none of it', (await n.row('customers', x.customer)) === undefined)
await a.sync()
await move(x.customer, 'south')
await a.sync()
await n.sync()
check('a customer that moved is gone with its visits and orders', (await a.row('customers', x.customer)) === undefined
  && (await a.row('visits', x.visit)) === undefined && (await a.row('orders', x.order)) === undefined)
check('its new rep has it whole', (await n.row('orders', x.order))?.customerId === x.customer)
await same('after a move the old rep', a)
await same('after a move the new rep', n)
await n.update('customers', x.customer, { city: 'Ningbo' })
await n.sync()
await move(x.customer, 'north')
await a.sync()
await n.sync()
check('a return brings it as it is now', (await a.row('customers', x.customer))?.city === 'Ningbo')
check('and takes it from the other', (await n.row('customers', x.customer)) === undefined)
await same('after a return', a)
const before = (await a.table('customers').query().fetch()).length
await seat('grant', 'wei', 'south')
await a.sync()
check('a granted territory arrives', (await a.table('customers').query().fetch()).length > before)
await same('after a grant', a)
await seat('revoke', 'wei', 'south')
await a.sync()
check('a revoked territory goes', (await a.table('customers').query().fetch()).length === before)
await same('after a revocation', a)
await seat('grant', 'wei', 'south')
await seat('revoke', 'wei', 'south')
await a.sync()
check('granted and revoked between two pulls changes nothing', (await a.table('customers').query().fetch()).length === before)
await move(x.customer, 'south')
await a.update('customers', x.customer, { city: 'while it moved away' })
check('an edit of what moved away meanwhile is no error', (await a.failing()) === undefined)
await move(x.customer, 'north')
await a.sync()
await same('after it came back', a)

// -- expiry --
await a.update('visits', x.visit, { nextStep: 'kept over the expiry' })
const fresh1 = id()
await a.create('tasks', fresh1, { title: 'made while expired' })
await a.database.adapter.setLocal('__watermelon_last_pulled_at', String(2 ** 40 - 5))
const expired = await a.failing()
check('a clock of another epoch is CURSOR_EXPIRED', expired?.code === 'CURSOR_EXPIRED', expired)
await m.sync()
await m.remove('tasks', l1)
await m.sync()
await page.syncFromAnywhere(a.database, a.ask)
await b.sync()
check('local work outlives an expiry', (await b.row('visits', x.visit)).nextStep === 'kept over the expiry'
  && (await b.row('tasks', fresh1))?.title === 'made while expired')
check('what went meanwhile is gone', (await a.row('tasks', l1)) === undefined)
await a.sync()
await same('after an expiry', a)

// -- migrations --
const without = {
  version: 1,
  tables: schema.tables.filter((table) => table.name !== 'tasks').map((table) => table.name === 'customers'
    ? { ...table, columns: table.columns.filter((column) => column.name !== 'city') } : table),
}
const migrations = schemaMigrations({
  migrations: [{
    toVersion: 2,
    steps: [
      createTable(schema.tables.find((table) => table.name === 'tasks')),
      addColumns({ table: 'customers', columns: schema.tables[0].columns.filter((column) => column.name === 'city') }),
    ],
  }],
})
const old = phone('wei', { name: 'migrating', schema: without, migrations: schemaMigrations({ migrations: [] }) })
await old.sync()
check('an app of before has no such column', !('city' in (await old.row('customers', x.customer))))
const from = kind === 'loki' ? await saved(old) : undefined
const now = phone('wei', { name: 'migrating', schema: { ...schema, version: 2 }, migrations, from })
check('the new column is empty before the sync', (await now.row('customers', x.customer))?.city === null, await now.row('customers', x.customer))
await now.sync()
check('a migration brings the new table', (await now.row('tasks', fresh1))?.title === 'made while expired')
check('a migration brings the new column', (await now.row('customers', x.customer)).city === 'Ningbo')
check('a migration does not bring rows that say nothing new', now.pulls.at(-1).changes.visits.updated.length === 0)
await same('after a migration', now)

/** What is in memory is written to what stays, as a phone does by itself now and then. */
async function saved({ adapter, memory }) {
  const { loki } = adapter._driver
  await new Promise((resolve, reject) => loki.saveDatabase((error) => (error ? reject(error) : resolve())))
  return memory
}

// -- turbo --
const text = async (path) => {
  const answer = await fetch(`${server}${path}`, { headers: { authorization: `Bearer ${users.wei.token}` } })
  if (!answer.ok) throw new Error(await answer.text())
  return answer.text()
}
const native = phone('wei')
let unsafe
try { await page.firstSync(native.database, text, true) } catch (error) { unsafe = error }
check('unsafeTurbo needs the native module in Node', /JSI|LokiJS/.test(String(unsafe?.message)), unsafe)
const turbo = phone('wei')
await page.firstSync(turbo.database, text, false)
await same('a first sync by turbo is the same', turbo)
await turbo.sync()
check('after turbo a delta goes on from its clock', counted(turbo.pulls.at(-1)) === 0, counted(turbo.pulls.at(-1)))

process.exit(failed ? 1 : 0)
