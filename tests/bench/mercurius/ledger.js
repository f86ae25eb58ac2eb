// The ledger of a peer: a row for each inquiry in a chain of hashes, durable before its answer leaves.
//
// A file with a row a line, `POSITION HASH BODY`, and zeros after the last one; the body is JSON without line breaks:
//
//     hash(0) = 64 zeros
//     hash(n) = SHA-256(hash(n-1) || n || body(n)) in hex
//
// A commit writes all rows that wait by one call in a thread of libuv's pool, which returns when they are on the disk
// (O_DSYNC); the next begins as soon as it is done. Space is made a mebibyte ahead: a sync of a file that does not grow
// costs half as much.

import { createHmac, createSecretKey, hash, randomBytes } from 'node:crypto'
import { constants, openSync, write, writeFileSync } from 'node:fs'

const NEW_AND_SYNCED = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_DSYNC
const SPACE = Buffer.alloc(1 << 20)

export class Ledger {
  // Creates the file at `path`, and beside it, in `path`.key, the key of its keyed hashes.
  constructor (path) {
    const key = randomBytes(32)
    writeFileSync(`${path}.key`, key, { mode: 0o600 })
    this.key = createSecretKey(key)
    this.file = openSync(path, NEW_AND_SYNCED, 0o600)
    this.end = 0
    this.space = 0
    this.position = 0
    this.hash = '0'.repeat(64)
    this.rows = ''
    this.waiting = []
    this.committing = false
    this.failure = null
  }

  // HMAC-SHA256 of an identifier in hex: how rows name a subject.
  keyedHash (identifier) {
    return createHmac('sha256', this.key).update(identifier).digest('hex')
  }

  // Resolves to the row's place, { position, hash }, when it is durable. A failed write rejects its rows and all later ones.
  append (body) {
    return new Promise((resolve, reject) => {
      const position = ++this.position
      this.hash = hash('sha256', `${this.hash}${position}${body}`, 'hex')
      this.rows += `${position} ${this.hash} ${body}\n`
      this.waiting.push({ place: { position, hash: this.hash }, resolve, reject })
      // One commit for all that is appended in this turn of the loop.
      if (this.waiting.length === 1 && !this.committing) setImmediate(() => this.commit())
    })
  }

  commit () {
    if (this.waiting.length === 0) return
    const { rows, waiting, end } = this
    this.rows = ''
    this.waiting = []
    this.committing = true
    let bytes = Buffer.from(rows)
    this.end += bytes.length
    if (this.end > this.space) {
      bytes = Buffer.concat([bytes, SPACE])
      this.space = end + bytes.length
    }
    write(this.file, bytes, 0, bytes.length, end, (error, written) => {
      this.committing = false
      this.failure ??= error ?? (written < bytes.length ? new Error('the ledger is written in part') : null)
      for (const { place, resolve, reject } of waiting) this.failure ? reject(this.failure) : resolve(place)
      this.commit()
    })
  }
}
