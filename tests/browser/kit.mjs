// What every script here does alike: reads the scene from standard input, drives the browser that the
// story started, collects what it finds wrong, and fails with all of it.

import { createRequire } from 'node:module'
import { text } from 'node:stream/consumers'

const require = createRequire(`${process.env.NODE_MODULES}/here.js`)
const { chromium } = require('playwright-core')

export const axe = require('axe-core').source
export const scene = JSON.parse(await text(process.stdin))
const found = []

/** Notes something that is not as it should be. */
export const wrong = (where, ...what) => found.push(`${where}: ${what.join(' ')}`)
export const hold = (where, is, ...what) => is || wrong(where, ...what)

/** Runs `look` with the browser, prints what it gives; or everything that was wrong. */
export async function run(look) {
  const browser = await chromium.connectOverCDP(process.env.BROWSER_ADDRESS)
  const answer = await look(browser)
  await browser.close()
  if (found.length === 0) return console.log(JSON.stringify(answer ?? null))
  console.error(found.join('\n'))
  process.exit(1)
}

/** Pages of a visitor with a token, signed in where the scene has a cookie, and what they did that they must not. */
export async function visitor(browser, options = {}) {
  const basic = Buffer.from(`tests:${scene.token}`).toString('base64')
  const context = await browser.newContext({
    baseURL: scene.base,
    extraHTTPHeaders: { authorization: `Basic ${basic}` },
    viewport: { width: 1280, height: 800 },
    colorScheme: 'light',
    ...options,
  })
  context.setDefaultTimeout(20_000)
  if (scene.cookie) {
    const [name, value] = scene.cookie.split('=')
    await context.addCookies([{ name, value, url: scene.base, httpOnly: true, sameSite: 'Strict' }])
  }
  await context.addInitScript(() =>
    document.addEventListener('securitypolicyviolation', (event) =>
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)))
  return context
}

/** Opens a page, counts what it loads, and notes errors, dialogs, and whatever it asks of another host.
 * `isRefused`: what its scripts ask for is. */
export async function open(context, { name, path, status = 200, isRefused = false }) {
  const page = await context.newPage()
  page.on('pageerror', (error) => wrong(name, 'threw', error.message))
  page.on('dialog', (dialog) => (wrong(name, 'opened a dialog', dialog.message()), dialog.dismiss()))
  page.on('console', (message) => {
    // A browser itself complains of an answer that is no success.
    const own = (status >= 400 || isRefused) && message.text().startsWith('Failed to load resource')
    if (message.type() === 'error' && !own) wrong(name, 'console:', message.text())
  })
  page.on('request', (request) =>
    hold(name, new URL(request.url()).origin === scene.base, 'asked', request.url()))
  page.bytes = 0
  const wire = await context.newCDPSession(page)
  wire.on('Network.loadingFinished', ({ encodedDataLength }) => (page.bytes += encodedDataLength))
  await wire.send('Network.enable')
  const answer = await page.goto(path)
  hold(name, answer.status() === status, 'answered', answer.status())
  return page
}
