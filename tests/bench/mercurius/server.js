// A peer: the sections of the bench in Mercurius with its JIT on fastify, undici as the client, over the same upstream.
//
// node server.js UPSTREAM [--loaders] [--cache] [--ledger FILE]
//
// Without --loaders every section is one call for one subject; with it Mercurius' loaders ask for all subjects of a
// request at once. --cache keeps what the upstream said of a subject for good. --ledger makes a row for each inquiry
// durable in FILE before its answer leaves. The token is verified by fast-jwt with its cache and has to hold the
// purpose, which is looked up for every section. It asks no register and hides no field.

import { createPublicKey, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { createVerifier } from 'fast-jwt'
import Fastify from 'fastify'
import mercurius from 'mercurius'
import { Pool } from 'undici'
import { Ledger } from './ledger.js'

const { values: options, positionals: [upstream] } = parseArgs({
  allowPositionals: true,
  options: { loaders: { type: 'boolean' }, cache: { type: 'boolean' }, ledger: { type: 'string' } }
})
const kept = options.cache ? new Map() : null
const pool = new Pool(upstream, { connections: 128 })
const SECTIONS = ['registration', 'licences', 'penalties', 'abnormalOperations']

async function read (request) {
  const { body } = await pool.request(request)
  return body.json()
}

const { keys: [jwk] } = await read({ method: 'GET', path: '/jwks' })
const key = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
const verify = createVerifier({ key, algorithms: ['ES256'], allowedAud: 'credit-gateway', cache: 10_000 })

const PERMITTED = {
  MARKET_REGULATION: { PUBLIC_VIEW: new Set(SECTIONS), EVALUATION_RUN: new Set(SECTIONS) }
}

function decide (context, subject, section) {
  const permitted = PERMITTED[context.caller.caller_type]?.[context.purpose]?.has(section)
  context.outcomes.get(subject.code)[section] = permitted ? 'UNKNOWN' : 'DENIED'
  if (!permitted) throw new Error('denied')
}

async function one (section, code) {
  const known = kept?.get(section + code)
  if (known !== undefined) return known
  const { data } = await read({ method: 'GET', path: `/${section}?code=${code}` })
  kept?.set(section + code, data)
  return data
}

async function many (section, codes) {
  const found = new Map(codes.map((code) => [code, kept?.get(section + code)]))
  const missing = codes.filter((code) => found.get(code) === undefined)
  if (missing.length > 0) {
    for (const code of missing) found.set(code, [])
    const { data } = await read({ method: 'POST', path: `/${section}`, body: JSON.stringify({ codes: missing }) })
    for (const row of data) found.get(row.code).push(row)
    for (const code of missing) kept?.set(section + code, found.get(code))
  }
  return codes.map((code) => found.get(code))
}

function answered (context, subject, section, rows) {
  const state = rows.length > 0 ? 'HAS' : 'NONE'
  context.outcomes.get(subject.code)[section] = state
  return section === 'registration' ? { state, record: rows[0] } : { state, rows }
}

function resolver (section) {
  return (subject, _, context) => {
    decide(context, subject, section)
    // Without a promise where nothing has to be waited for.
    const known = kept?.get(section + subject.code)
    if (known !== undefined) return answered(context, subject, section, known)
    return one(section, subject.code).then((rows) => answered(context, subject, section, rows))
  }
}

function loader (section) {
  return async (queries, context) => {
    for (const { obj } of queries) decide(context, obj, section)
    const found = await many(section, queries.map(({ obj }) => obj.code))
    return found.map((rows, place) => answered(context, queries[place].obj, section, rows))
  }
}

const bySection = (make) => Object.fromEntries(SECTIONS.map((section) => [section, make(section)]))
const page = { records: ({ rows }, { first }) => ({ totalCount: rows.length, nodes: rows.slice(0, first) }) }

function inquiry (_, { purpose }, context) {
  if (context.purpose !== null) throw new Error('an operation holds one inquiry')
  context.purpose = purpose
  if (!context.caller.authorization_details[0].purposes.includes(purpose)) throw new Error('the token lacks the purpose')
  return {}
}

function subject ({ creditCode }, context) {
  if (!context.outcomes.has(creditCode)) context.outcomes.set(creditCode, {})
  return { code: creditCode }
}

const resolvers = {
  Query: { inquiry },
  Inquiry: {
    subject: (_, { id }, context) => subject(id, context),
    subjects: (_, { of }, context) => of.map(({ id }) => subject(id, context))
  },
  LicenceSection: page,
  PenaltySection: page,
  AbnormalOperationSection: page
}
const loaders = options.loaders ? { OperatingSubject: bySection(loader) } : undefined
if (loaders === undefined) resolvers.OperatingSubject = bySection(resolver)

const app = Fastify()
await app.register(mercurius, {
  schema: readFileSync(new URL('schema.graphql', import.meta.url), 'utf8'),
  resolvers,
  loaders,
  jit: 1,
  context: (request) => ({
    caller: verify(request.headers.authorization.slice('Bearer '.length)),
    purpose: null,
    outcomes: new Map()
  })
})
if (options.ledger !== undefined) app.graphql.addHook('onResolution', recorded(new Ledger(options.ledger)))
console.log(JSON.stringify({ url: await app.listen({ host: '127.0.0.1', port: 0 }), ledger: options.ledger }))
process.on('SIGTERM', () => process.exit(0))

// The hook that records an inquiry and puts the receipt into its answer.
function recorded (ledger) {
  const documents = new Map()

  function documentHash (text) {
    let known = documents.get(text)
    if (known === undefined) {
      if (documents.size >= 1_000) documents.clear()
      documents.set(text, known = ledger.keyedHash(`document:${text}`))
    }
    return known
  }

  return async (execution, context) => {
    const { caller, purpose } = context
    if (purpose === null) return
    const id = randomUUID()
    const subjects = []
    for (const [code, sections] of context.outcomes) {
      subjects.push({ subject: ledger.keyedHash(`credit_code:${code}`), sections })
    }
    const { position, hash } = await ledger.append(JSON.stringify({
      receipt: id,
      time: new Date().toISOString(),
      caller: { unit: caller.unit, type: caller.caller_type, officer: caller.officer, client: caller.client_id, token: caller.jti },
      purpose,
      document: documentHash(context.__currentQuery),
      outcome: execution.errors ? 'FAULT' : 'ANSWERED',
      subjects
    }))
    execution.extensions = { ...execution.extensions, receipt: { id, position, hash } }
  }
}
