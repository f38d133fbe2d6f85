// A phone: WatermelonDB with one of its adapters, the set-up of mobile_contract/watermelon.md, and a network that fails
// when it is told to.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'

const require = createRequire(import.meta.url)
const ts = require('typescript')
const { default: SQLiteAdapter } = require('@nozbe/watermelondb/adapters/sqlite')
const { default: LokiJSAdapter } = require('@nozbe/watermelondb/adapters/lokijs')
const { default: logger } = require('@nozbe/watermelondb/utils/common/logger')
const { LokiMemoryAdapter } = createRequire(require.resolve('@nozbe/watermelondb'))('lokijs')
logger.silence()

/** The JavaScript of the page, in order, as one module. */
export function pageOf(path) {
  const code = [...readFileSync(path, 'utf8').matchAll(/```js\n([\s\S]*?)```/g)].map((found) => found[1]).join('\n')
  const { outputText } = ts.transpileModule(code, {
    compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022, esModuleInterop: true },
  })
  const made = {}
  new Function('require', 'exports', outputText)(require, made)
  return made
}

export class Phone {
  constructor({ page, server, user, kind, folder, name, schema, migrations, from }) {
    Object.assign(this, { page, server, user, kind })
    this.pulls = []
    this.pushes = []
    this.beforePush = null
    this.losing = null
    const appSchema = page.schemaOf(schema)
    const common = { schema: appSchema, migrations }
    this.adapter = kind === 'sqlite'
      ? new SQLiteAdapter({ ...common, dbName: `${folder}/${name}.db` })
      : new LokiJSAdapter({
        ...common, dbName: name, useWebWorker: false, useIncrementalIndexedDB: false,
        extraLokiOptions: { autosave: false },
        // in memory, without IndexedDB; handed on, a database is opened again
        _testLokiAdapter: (this.memory = from ?? new LokiMemoryAdapter()),
      })
    const models = schema.tables.map((table) => page.modelOf(table.name))
    this.database = page.open(this.adapter, models)
    this.ask = this.ask.bind(this)
  }

  /** One request. `losing`: the answer to the next one of that name is lost after the server has done it. */
  async ask(query, variables) {
    const name = query.includes('watermelonPush') ? 'push' : 'pull'
    if (name === 'push' && this.beforePush) {
      const act = this.beforePush
      this.beforePush = null
      await act()
    }
    const data = await post(this.server, this.user.token, query, variables)
    if (name === 'pull' && data.watermelonPull) this.pulls.push(data.watermelonPull)
    if (name === 'push') this.pushes.push({ variables, answer: data.watermelonPush })
    if (this.losing === name) {
      this.losing = null
      throw new Error('the answer was lost')
    }
    return data
  }

  sync(options) { return this.page.sync(this.database, this.ask, options) }

  /** The error a sync ends with; undefined when it does not. */
  async failing(options) {
    try {
      await this.sync(options)
    } catch (error) {
      return error
    }
    return undefined
  }

  table(name) { return this.database.get(name) }

  async row(table, id) {
    try {
      return (await this.table(table).find(id))._raw
    } catch {
      return undefined
    }
  }

  write(act) { return this.database.write(act) }

  create(table, id, fields) {
    return this.write(() => this.table(table).create((record) => {
      record._raw.id = id
      for (const [name, value] of Object.entries(fields)) record._setRaw(name, value)
    }))
  }

  update(table, id, fields) {
    return this.write(async () => (await this.table(table).find(id)).update((record) => {
      for (const [name, value] of Object.entries(fields)) record._setRaw(name, value)
    }))
  }

  setNested(table, id, name, value) {
    return this.write(async () => (await this.table(table).find(id)).update((record) => {
      this.page.setNested(record, name, value)
    }))
  }

  remove(table, id) { return this.write(async () => (await this.table(table).find(id)).markAsDeleted()) }

  /** What differs from what the server would give a phone that begins now; empty when nothing does. */
  async differs() {
    const fresh = await post(this.server, this.user.token,
      'query ($tables: [String!]) { watermelonPull(schemaVersion: 1, tables: $tables) { changes timestamp } }',
      { tables: Object.keys(this.database.schema.tables) })
    const wrong = []
    for (const [name, { columnArray }] of Object.entries(this.database.schema.tables)) {
      const wanted = new Map(fresh.watermelonPull.changes[name].updated.map((row) => [row.id, row]))
      for (const { _raw: raw } of await this.table(name).query().fetch()) {
        const row = wanted.get(raw.id)
        wanted.delete(raw.id)
        if (!row) wrong.push(`${name} ${raw.id} is too much`)
        else if (raw._status !== 'synced') wrong.push(`${name} ${raw.id} is ${raw._status}`)
        else wrong.push(...columnArray.filter((column) => raw[column.name] !== (row[column.name] ?? null))
          .map((column) => `${name} ${raw.id} ${column.name}: ${raw[column.name]} for ${row[column.name]}`))
      }
      wrong.push(...[...wanted.keys()].map((id) => `${name} ${id} is missing`))
    }
    return wrong
  }
}

/** `data` of an answer; throws an error with the answer's code. */
export async function post(server, token, query, variables) {
  const answer = await fetch(`${server}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify({ query, variables }),
  })
  const { data, errors } = await answer.json()
  if (errors) throw Object.assign(new Error(errors[0].message), { code: errors[0].extensions?.code })
  return data
}
