// The peer for compose hashes: `@phala/cloud`, with both of its functions. Asked line by line.

import { createHash } from 'node:crypto'
import { dumpAppCompose, getComposeHash, withComposeMethods } from '@phala/cloud'
import { answerAll } from './answer.mjs'

const sha256 = (text) => createHash('sha256').update(text, 'utf8').digest('hex')

const answers = {
  // The document comes as a text, so that each side reads it itself.
  compose(question) {
    const document = () => JSON.parse(question.document)
    return {
      exported: getComposeHash(document()),
      exported_normalized: getComposeHash(document(), true),
      dumped: sha256(dumpAppCompose(document())),
      of_the_file: withComposeMethods(document()).getHash(),
    }
  },
}

await answerAll(answers)
