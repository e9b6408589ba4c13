// What every Node peer does: reads questions from standard input, one JSON object a line, and answers
// each with a line. What goes wrong is an answer too.

import { createInterface } from 'node:readline'

export async function answerAll(answers) {
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
}
