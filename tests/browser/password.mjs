// Somebody with an API token and no wallet: is asked for it where they want to be, and nowhere else.

import { hold, run, scene, visitor } from './kit.mjs'

await run(async (browser) => {
  const httpCredentials = { username: 'anything', password: scene.password }
  const context = await visitor(browser, { extraHTTPHeaders: {}, httpCredentials })
  const page = await context.newPage()
  const refused = await page.goto('/')
  hold('list', refused.status() === 401, 'was asked for a password, and let in', refused.status())
  hold('list', await page.getByRole('link', { name: 'Sign in with a wallet' }).isVisible(), 'offers no sign-in')
  await page.getByRole('link', { name: 'use an API token' }).click()
  await page.getByRole('heading', { name: 'Requests', exact: true }).waitFor()
  hold('token', new URL(page.url()).pathname === '/', 'led to', page.url())
  const journal = await page.goto('/journal')
  hold('journal', journal.status() === 200, 'answered', journal.status())
  await context.close()
})
