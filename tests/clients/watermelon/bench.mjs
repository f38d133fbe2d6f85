// How long WatermelonDB takes for a first sync, and how much of it is waiting for the server.
import { readFileSync } from 'node:fs'
import { Phone, pageOf } from './phone.mjs'

const { server, token, kind, folder, page: path, schema: schemaPath } = JSON.parse(process.env.ORDERS)
const page = pageOf(path)
const schema = JSON.parse(readFileSync(schemaPath, 'utf8'))
const tables = { ...schema, tables: schema.tables.filter(({ name }) => name === 'customers') }

for (const by of ['watermelonPull', '/sync/turbo']) {
  const phone = new Phone({ page, server, user: { token }, kind, folder, name: `bench${by.length}`, schema: tables })
  let waited = 0
  const timed = async (act) => {
    const began = performance.now()
    try { return await act() } finally { waited += performance.now() - began }
  }
  const began = performance.now()
  if (by === 'watermelonPull') {
    await page.sync(phone.database, (...asked) => timed(() => phone.ask(...asked)))
  } else {
    await page.firstSync(phone.database, (where) => timed(async () =>
      (await fetch(server + where, { headers: { authorization: `Bearer ${token}` } })).text()), false)
  }
  const all = performance.now() - began
  console.log(JSON.stringify({ by, all, server: waited, rows: await phone.table('customers').query().fetchCount() }))
}
process.exit(0)
