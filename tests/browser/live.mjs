// Two people look at a request and at the list while owners sign. Both see it without loading anything
// anew, where they are on the page and with what they have opened.

import { hold, open, run, scene, visitor } from './kit.mjs'

const request = `/requests/${scene.id}`
const details = '#data > summary'

await run(async (browser) => {
  const context = await visitor(browser, { viewport: { width: 800, height: 500 } })
  const one = await settle(await open(context, { name: 'request', path: request }))
  const all = await settle(await open(context, { name: 'list', path: '/' }))
  const link = `#r-${scene.id}`
  await one.locator(details).press('Enter')
  await one.locator(details).scrollIntoViewIfNeeded()
  await all.locator(link).focus()
  const before = { one: await where(one, details), all: await where(all, link) }
  hold('request', before.one.scroll > 0, 'is not scrolled')

  for (const [number, signature] of scene.signatures.entries()) {
    const answer = await context.request.post(`/v1${request}/confirmations`, { data: { signature } })
    hold('signature', answer.status() === 201, await answer.text())
    const count = `${number + 1} of 2`
    await one.bringToFront()
    await one.getByRole('heading', { name: `Signatures: ${count}` }).waitFor()
    await all.bringToFront()
    await all.locator('tr', { has: all.locator(link) }).getByText(count).first().waitFor()
  }
  await all.locator('tr', { has: all.locator(link) }).getByText('approved', { exact: true }).waitFor()
  await one.locator('.headline .badge', { hasText: 'approved' }).waitFor()

  const after = { one: await where(one, details), all: await where(all, link) }
  for (const name of ['one', 'all']) {
    const [was, is] = [before[name], after[name]]
    hold(name, is.same, 'was loaded anew')
    hold(name, is.focused, 'lost the focus')
    hold(name, Math.abs(is.top - was.top) <= 1, 'moved from', was.top, 'to', is.top)
  }
  hold('request', await one.locator('#data').getAttribute('open') !== null, 'closed what was opened')
  hold('request', (await one.title()).startsWith('approved'), 'kept its old title')
  await context.close()

  // Nothing answers any more: the page that is open says so, and takes it back.
  const other = await visitor(browser)
  const left = await open(other, { name: 'silence', path: request, isRefused: true })
  const silence = left.getByRole('alert').filter({ hasText: /not answered since \d\d:\d\d:\d\d UTC/ })
  hold('silence', !await left.locator('#silent').isVisible(), 'is told of a service that answers')
  await other.route('**', (route) => route.abort())
  // A page that comes back opens its stream anew.
  await left.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))
  await silence.waitFor()
  await other.unrouteAll({ behavior: 'wait' })
  await silence.waitFor({ state: 'hidden' })
  await other.close()
})

/** The stream is open, and what it first brought is shown; the mark goes with a page that is loaded anew. */
async function settle(page) {
  await page.evaluate(() => {
    window.marked = true
    return new Promise((opened) => {
      const source = new EventSource('/v1/events')
      source.onopen = () => (source.close(), opened())
    })
  })
  return page
}

function where(page, selector) {
  return page.evaluate((selector) => {
    const it = document.querySelector(selector)
    const { top } = it.getBoundingClientRect()
    return { top, scroll: scrollY, focused: document.activeElement === it, same: window.marked === true }
  }, selector)
}
