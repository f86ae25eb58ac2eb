// A peer: the sections of the bench in Mercurius with its JIT on fastify, undici as the client, over the same upstream.
//
// node server.js UPSTREAM [--loaders] [--cache]
//
// Without --loaders every section is one call for one subject; with it Mercurius' loaders ask for all subjects of a
// request at once. --cache keeps what the upstream said of a subject for good. The token is verified by fast-jwt with
// its cache; the purpose is looked up for every section. It keeps no ledger, asks no register and hides no field.

import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createVerifier } from 'fast-jwt'
import Fastify from 'fastify'
import mercurius from 'mercurius'
import { Pool } from 'undici'

const [upstream, ...flags] = process.argv.slice(2)
const kept = flags.includes('--cache') ? new Map() : null
const pool = new Pool(upstream, { connections: 128 })
const SECTIONS = ['registration', 'licences', 'penalties', 'abnormalOperations']

async function read (options) {
  const { body } = await pool.request(options)
  return body.json()
}

const { keys: [jwk] } = await read({ method: 'GET', path: '/jwks' })
const key = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
const verify = createVerifier({ key, algorithms: ['ES256'], allowedAud: 'credit-gateway', cache: 10_000 })

const PERMITTED = new Map(['PUBLIC_VIEW', 'EVALUATION_RUN'].map(
  (purpose) => [`MARKET_REGULATION ${purpose}`, new Set(SECTIONS)]
))

function decide (context, purpose, section) {
  const permitted = PERMITTED.get(`${context.caller.caller_type} ${purpose}`)
  if (permitted === undefined || !permitted.has(section)) throw new Error('denied')
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

function answered (section, rows) {
  const state = rows.length > 0 ? 'HAS' : 'NONE'
  return section === 'registration' ? { state, record: rows[0] } : { state, rows }
}

function resolver (section) {
  return (subject, _, context) => {
    decide(context, subject.purpose, section)
    // Without a promise where nothing has to be waited for.
    const known = kept?.get(section + subject.code)
    if (known !== undefined) return answered(section, known)
    return one(section, subject.code).then((rows) => answered(section, rows))
  }
}

function loader (section) {
  return async (queries, context) => {
    for (const { obj } of queries) decide(context, obj.purpose, section)
    const found = await many(section, queries.map(({ obj }) => obj.code))
    return found.map((rows) => answered(section, rows))
  }
}

const bySection = (make) => Object.fromEntries(SECTIONS.map((section) => [section, make(section)]))
const page = { records: ({ rows }, { first }) => ({ totalCount: rows.length, nodes: rows.slice(0, first) }) }
const subject = (code, purpose) => ({ code, purpose })

const resolvers = {
  Query: { inquiry: (_, { purpose }) => ({ purpose }) },
  Inquiry: {
    subject: ({ purpose }, { id }) => subject(id.creditCode, purpose),
    subjects: ({ purpose }, { of }) => of.map(({ id }) => subject(id.creditCode, purpose))
  },
  LicenceSection: page,
  PenaltySection: page,
  AbnormalOperationSection: page
}
const loaders = flags.includes('--loaders') ? { OperatingSubject: bySection(loader) } : undefined
if (loaders === undefined) resolvers.OperatingSubject = bySection(resolver)

const app = Fastify()
app.register(mercurius, {
  schema: readFileSync(new URL('schema.graphql', import.meta.url), 'utf8'),
  resolvers,
  loaders,
  jit: 1,
  context: (request) => ({ caller: verify(request.headers.authorization.slice('Bearer '.length)) })
})
console.log(JSON.stringify({ url: await app.listen({ host: '127.0.0.1', port: 0 }) }))
process.on('SIGTERM', () => process.exit(0))
