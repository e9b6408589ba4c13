// The history of an app: drawn with what each bar says, as a table, searched without scripts, saved and
// printed.

import { hold, open, run, scene, visitor } from './kit.mjs'

await run(async (browser) => {
  const context = await visitor(browser)
  const page = await open(context, { name: 'app', path: scene.app })
  const chart = page.getByRole('img', { name: /Bars over time/ })
  await chart.waitFor()
  const bars = await chart.locator('rect').evaluateAll((all) => all.map((it) => ({
    title: it.querySelector('title').textContent,
    box: it.getBoundingClientRect().toJSON(),
    fill: getComputedStyle(it).fill,
  })))
  const within = await chart.evaluate((it) => it.getBoundingClientRect().toJSON())
  for (const { box, fill, title } of bars) {
    hold('bar', box.left >= within.left - 1 && box.right <= within.right + 1, 'leaves the drawing:', title)
    hold('bar', box.width >= 1 && box.height >= 10 && fill !== 'none', 'is not seen:', title)
  }
  const of = (value) => bars.filter(({ title }) => title.includes(value))
  const [other, ...more] = of(scene.other)
  hold('bar', more.length === 0 && of(scene.device).length === 1, 'is missing or there twice')
  for (const [is, { block, tx }] of [['from', scene.added], ['until', scene.removed]])
    for (const part of [`${is} block ${block},`, tx, 'UTC', 'approved by:'])
      hold('bar', other.title.includes(part), 'does not say', part, 'but', other.title)
  hold('bar', of(scene.device)[0].title.includes('still so'), 'ends too early')
  hold('bar', of('Owner').some(({ title }) => title.includes(scene.safe)), 'of the owner is missing')
  await page.locator('#over-time-table > summary').click()
  const table = await page.locator('#over-time-table tbody').innerText()
  for (const part of [scene.other, scene.removed.tx, `block ${scene.removed.block}`, 'still so', scene.safe])
    hold('table', table.includes(part), 'lacks', part)

  await page.getByRole('link', { name: 'its ledger' }).click()
  await page.getByLabel('What happened').selectOption('device removed')
  await page.getByRole('button', { name: 'Show' }).click()
  const rows = () => page.locator('tbody tr').allInnerTexts()
  const found = await rows()
  hold('ledger', found.length === 1 && found[0].includes(scene.other), 'finds', found.join('\n'))
  for (const name of ['CSV', 'JSON']) {
    const link = page.getByRole('link', { name, exact: true })
    hold(name, await link.getAttribute('download') !== null, 'is opened, not saved')
    const answer = await context.request.get(await link.getAttribute('href'))
    const text = await answer.text()
    hold(name, answer.headers()['content-disposition']?.startsWith('attachment'), 'is not for saving')
    hold(name, text.includes(scene.other) && text.includes(scene.head.hash), 'lacks the event or the head')
    hold(name, !text.includes('device_added'), 'has what was not looked for')
  }
  await page.getByRole('link', { name: 'All', exact: true }).click()
  hold('ledger', (await rows()).length === scene.events, 'does not come back to all')

  for (const path of [scene.app, `${scene.app}/ledger`]) {
    await page.goto(path)
    hold(path, !await page.locator('.report').isVisible(), 'shows on a screen what is for paper')
    await page.emulateMedia({ media: 'print' })
    const paper = await page.locator('main').innerText()
    const parts = [`entry ${scene.head.seq}, ${scene.head.hash}`, 'As of', 'block', scene.base, 'Made', scene.app.split('/').at(-1)]
    for (const part of parts) hold(path, paper.includes(part), 'does not print', part)
    hold(path, (await page.pdf()).length > 10_000, 'makes no PDF')
    await page.emulateMedia({ media: 'screen' })
  }
  await context.close()
})
