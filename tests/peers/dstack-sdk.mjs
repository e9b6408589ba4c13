// The peer for environment variables: `@phala/dstack-sdk` and `@phala/cloud`. Asked line by line.

import { createDecipheriv, createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto'
import { encryptEnvVars } from '@phala/dstack-sdk/encrypt-env-vars'
import { verifyEnvEncryptPublicKey } from '@phala/dstack-sdk/verify-env-encrypt-public-key'
import { parseEnvVars } from '@phala/cloud'
import { answerAll } from './answer.mjs'

const PKCS8_OF_X25519 = Buffer.from('302e020100300506032b656e04220420', 'hex')

const privateKey = (hex) =>
  createPrivateKey({
    key: Buffer.concat([PKCS8_OF_X25519, Buffer.from(hex, 'hex')]),
    format: 'der',
    type: 'pkcs8',
  })

const publicKey = (bytes) =>
  createPublicKey({
    key: { kty: 'OKP', crv: 'X25519', x: Buffer.from(bytes).toString('base64url') },
    format: 'jwk',
  })

const publicHex = (key) =>
  Buffer.from(createPublicKey(key).export({ format: 'jwk' }).x, 'base64url').toString('hex')

// As the guest of a replica does: the sender's key, the nonce, then text and tag.
const decrypt = (key, hex) => {
  const bytes = Buffer.from(hex, 'hex')
  const shared = diffieHellman({ privateKey: key, publicKey: publicKey(bytes.subarray(0, 32)) })
  const cipher = createDecipheriv('aes-256-gcm', shared, bytes.subarray(32, 44))
  cipher.setAuthTag(bytes.subarray(-16))
  return Buffer.concat([cipher.update(bytes.subarray(44, -16)), cipher.final()]).toString()
}

const answers = {
  public_key(question) {
    return { public_key: publicHex(privateKey(question.private_key)) }
  },

  async decrypt(question) {
    const key = privateKey(question.private_key)
    const theirs = await encryptEnvVars(question.env, publicHex(key))
    return {
      text: decrypt(key, question.encrypted),
      length: theirs.length,
      their_text: decrypt(key, theirs),
    }
  },

  signer(question) {
    const [key, signature] = [question.public_key, question.signature].map((hex) =>
      Uint8Array.from(Buffer.from(hex, 'hex')),
    )
    return { signer: verifyEnvEncryptPublicKey(key, signature, question.app) }
  },

  parse(question) {
    return { env: Object.fromEntries(parseEnvVars(question.text).map((one) => [one.key, one.value])) }
  },
}

// What it says beside its answers is for nobody.
console.error = () => {}

await answerAll(answers)
