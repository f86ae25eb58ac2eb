// A list of seriously dishonest subjects behind the SOAP server of the package "soap": node listing.js USER PASSWORD
//
// Callers prove themselves by a WS-Security user name token with a digest, which the package computes anew. It prints
// its port when it listens.

const { readFileSync } = require('node:fs')
const { createServer } = require('node:http')
const { join } = require('node:path')
const soap = require('soap')

const [user, password] = process.argv.slice(2)

const entry = {
  list: '严重违法失信名单',
  entered: '2025-02-03',
  why: '示例事由',
  documentKind: '2',
  authority: '示例市市场监督管理局',
  clerk: '虚丙'
}
const ENTRIES = [
  { ...entry, number: 'L-1', code: '91990105EXTN00014L', document: '示市监列〔2025〕1号' },
  { ...entry, number: 'L-2', code: '91990105EXTN00030A', document: '示市监列〔2025〕2号' }
]

function findEntries ({ code }) {
  const found = ENTRIES.filter((each) => each.code === code)
  if (found.length === 0) {
    throw { Fault: { faultcode: 'l:NotListed', faultstring: 'there is no such entry', statusCode: 500 } }
  }
  return { entry: found }
}

const server = createServer((_request, response) => response.writeHead(404).end())
server.listen(0, '127.0.0.1', () => {
  const service = { Listing: { Listing: { findEntries } } }
  const listing = soap.listen(server, '/listing', service, readFileSync(join(__dirname, 'listing.wsdl'), 'utf8'))
  listing.authenticate = (security) => {
    const token = security?.UsernameToken
    const digest = soap.passwordDigest(token?.Nonce?.$value ?? token?.Nonce, token?.Created, password)
    return token?.Username === user && (token.Password?.$value ?? token.Password) === digest
  }
  console.log(server.address().port)
})
