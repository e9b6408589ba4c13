// The peer for compose hashes: `@phala/cloud`, with both of its functions. Reads questions from
// standard input, one JSON object a line, and answers each with a line.

import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import { dumpAppCompose, getComposeHash, withComposeMethods } from '@phala/cloud'

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

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line)
  let answer
  try {
    answer = await answers[question.ask](question)
  } catch (error) {
    answer = { error: String(error?.stack ?? error) }
  }
  console.log(JSON.stringify(answer))
}
