// The list of very many requests, without scripts: in order, filtered by its form, page after page.

import { hold, open, run, scene, visitor } from './kit.mjs'

await run(async (browser) => {
  const context = await visitor(browser, { javaScriptEnabled: false })
  const page = await open(context, { name: 'queue', path: '/' })
  const rows = () => page.locator('tbody tr').allInnerTexts()

  const first = await rows()
  hold('first page', first.length === 50, 'has', first.length, 'rows')
  hold('first page', first.every((row) => row.includes('needs attention')), 'does not begin with what asks')
  const notes = (texts) => texts.map((row) => Number(/note (\d+)/.exec(row)[1]))
  const falls = (numbers) => numbers.every((number, at) => at === 0 || number < numbers[at - 1])
  hold('first page', falls(notes(first)), 'is not by deadline:', notes(first).join(' '))
  await page.getByRole('link', { name: 'Next page' }).click()
  const second = await rows()
  hold('second page', falls(notes([...first, ...second])), 'does not follow the first')
  await page.getByRole('link', { name: 'First page' }).click()
  hold('first page', notes(await rows())[0] === notes(first)[0], 'is another one on the way back')

  await page.getByLabel('Status').selectOption('failed')
  await page.getByRole('textbox', { name: 'App' }).fill(scene.app.replace(/7$/, '6'))
  await page.getByRole('button', { name: 'Filter' }).click()
  const failed = await rows()
  hold('filter', failed.length === 50 && failed.every((row) => row.includes('failed')), 'shows others:', failed[0])
  hold('filter', notes(failed).every((number) => number % 1000 === 6), 'shows another app')
  await page.getByRole('link', { name: 'Next page' }).click()
  hold('filter', new URL(page.url()).searchParams.get('status') === 'failed', 'is lost on the next page')
  hold('filter', (await rows()).length === 50, 'has no second page')

  await page.goto('/')
  await page.getByLabel('Part of').fill('cvm-99999')
  await page.getByRole('button', { name: 'Filter' }).click()
  const found = await rows()
  hold('text', found.length === 1 && notes(found)[0] === 99_999, 'finds', found.length)
  await context.close()
})
