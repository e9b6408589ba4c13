// A person presses the button that checks the journal. The scene has `noted`, the head they know, and
// maybe `other`, the token of somebody else who asks for the entries.

import { hold, open, run, scene, visitor } from './kit.mjs'

await run(async (browser) => {
  const context = await visitor(browser)
  const page = await open(context, { name: 'journal', path: '/journal', isRefused: !!scene.other })
  // The hash that is brought along is the platform's own.
  const differs = await page.evaluate(async () => {
    const { sha256 } = await import('/assets/sha256.js')
    const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
    for (let length = 0; length < 200; length++) {
      const bytes = Uint8Array.from({ length }, (_, at) => at * 7 + length)
      const own = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
      if (hex(sha256(bytes)) !== hex(own)) return length
    }
    return null
  })
  hold('sha256', differs === null, 'is wrong for', differs, 'bytes')
  if (scene.other) {
    const authorization = `Basic ${Buffer.from(`tests:${scene.other}`).toString('base64')}`
    await page.route('**/v1/journal**', (route) =>
      route.continue({ headers: { ...route.request().headers(), authorization } }))
  }
  const said = page.locator('#verify [data-said]')
  await page.getByLabel('Head noted earlier').fill(scene.noted)
  const bar = page.locator('#verify progress')
  hold('bar', !await bar.isVisible(), 'is there before it is needed')
  await page.evaluate(() => {
    window.seen = []
    const bar = document.querySelector('#verify progress')
    new MutationObserver(() => window.seen.push([bar.hidden, bar.value])).observe(bar, { attributes: true })
  })
  await page.getByRole('button', { name: 'Verify in this browser' }).click()
  await page.waitForFunction(() => document.querySelector('#verify [data-said]').textContent !== '')
  const answer = { words: await said.textContent(), class: await said.getAttribute('class') }
  const seen = await page.evaluate(() => window.seen)
  hold('bar', seen.some(([hidden]) => !hidden), 'was never shown')
  await context.close()
  return answer
})
