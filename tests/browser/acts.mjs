// An owner without script: says which instance a commit made, comments, and rejects.

import { axe, hold, run, scene, visitor } from './kit.mjs'

await run(async (browser) => {
  const context = await visitor(browser, { javaScriptEnabled: false, extraHTTPHeaders: {} })
  const page = await context.newPage()

  await page.goto(`/requests/${scene.asking}`)
  await page.getByRole('radio', { name: scene.made }).check()
  await page.getByLabel('How do you know?').fill('looked at both')
  await page.getByRole('button', { name: 'Settle' }).click()
  await page.locator('.timeline', { hasText: 'Settled by a person: the CVM is' }).waitFor()
  hold('settle', page.url().endsWith(`/requests/${scene.asking}#timeline`), 'led to', page.url())
  hold('settle', await page.getByRole('button', { name: 'Settle' }).count() === 0, 'is offered again')

  await page.goto(`/requests/${scene.proposed}`)
  await page.getByLabel('Comment, for whoever').fill(scene.harm)
  await page.getByRole('button', { name: 'Comment' }).click()
  await page.locator('.timeline', { hasText: 'Comment: <script>pwned=1</script>' }).waitFor()

  await page.locator('#act-reject > summary').click()
  const reject = page.locator('#act-reject')
  await reject.getByRole('button', { name: 'Reject' }).click()
  hold('reject', page.url().includes('#timeline') && await reject.isVisible(), 'went without a reason')
  // A browser takes blanks for a reason; the page comes back as it was left, with what is wrong.
  await reject.getByLabel('Why?').fill('   ')
  await reject.getByRole('button', { name: 'Reject' }).click()
  await reject.getByRole('alert').filter({ hasText: 'Give a reason' }).waitFor()
  hold('reject', await reject.getByLabel('Why?').inputValue() === '   ', 'lost what was written')
  const isFocused = await reject.getByLabel('Why?').evaluate((it) => it === document.activeElement)
  hold('reject', isFocused, 'does not lead to what is wrong')
  await reject.getByLabel('Why?').fill('not ours')
  await reject.getByRole('button', { name: 'Reject' }).click()
  await page.locator('.headline .badge.rejected').waitFor()
  hold('reject', await page.locator('#act-reject').count() === 0, 'is offered again')

  // With script, what is written stays while the page keeps up, and nothing in it runs.
  const scripted = await visitor(browser, { extraHTTPHeaders: {} })
  const other = await scripted.newPage()
  await other.goto(`/requests/${scene.asking}`)
  hold('comment', await other.evaluate(() => window.pwned === undefined), 'ran what it was only to show')
  await other.evaluate(axe)
  const { violations } = await other.evaluate(() => axe.run(document))
  const bad = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))
  hold('acts', bad.length === 0, bad.map(({ id }) => id).join(' '))
  await scripted.close()

  // Out again, without script.
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByText('Nobody is signed in').waitFor()
  const place = new URL(page.url())
  hold('sign-out', place.pathname === '/sign-in', 'led to', page.url())
  hold('sign-out', place.searchParams.get('back') === `/requests/${scene.proposed}`, 'leads back to', page.url())
  await context.close()
})
