// Two owners of a devnet sign in, look, sign with the test wallets of the page; the operator executes; the
// replica runs, and the page says so by itself. A picture of each step.

import { axe, hold, open, run, scene, visitor, wrong } from './kit.mjs'

const request = `/requests/${scene.id}`
/** A usual screen, in pictures that are small enough for a text. */
const SCREEN = { viewport: { width: 1280, height: 720 }, deviceScaleFactor: 0.75 }
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']

await run(async (browser) => {
  const context = await visitor(browser, { extraHTTPHeaders: {}, ...SCREEN })
  const page = await open(context, { name: 'list', path: '/' })
  const shoot = (name) => page.screenshot({ path: `${scene.screenshots}/try-${name}.png` })
  const window = page.getByRole('dialog')
  const press = (name) => page.locator('#wallet').getByRole('button', { name, exact: true }).click()
  const says = (words) => page.locator('#wallet [role=status]').filter({ hasText: words }).waitFor()

  await shoot('01-list')
  await page.locator(`a[href="${request}"]`).click()
  await page.getByRole('button', { name: 'Sign with Test owner 1' }).waitFor()
  const operator = page.getByRole('button', { name: 'Sign with Test operator' })
  await operator.waitFor({ state: 'detached' }) // who owns nothing is asked for nothing
  await page.getByRole('row', { name: scene.owners[0] }).getByText('Test owner 1').waitFor()
  await page.getByText('Signatures: 0 of 2. Owners sign here').waitFor()
  await page.getByRole('heading', { level: 1, name: /on node prod6 \(6\)$/ }).waitFor()
  await shoot('02-request')

  // What a no looks like, by keyboard.
  await page.getByRole('button', { name: 'Sign with Test owner 1' }).press('Enter')
  await window.waitFor()
  await isAccessible(page)
  await page.emulateMedia({ colorScheme: 'dark' })
  await isAccessible(page)
  await page.emulateMedia({ colorScheme: 'light' })
  await shoot('03-wallet')
  for (const kind of ['safeTx', 'domain', 'message']) {
    const hash = await page.locator(`[data-hash="${kind}"]`).textContent()
    hold('wallet', await window.getByText(hash, { exact: true }).count() === 1, 'does not show the hash', kind)
  }
  await page.keyboard.press('Escape')
  await says('Rejected in Test owner 1: nothing was signed')
  hold('wallet', await page.evaluate(() => document.activeElement.textContent) === 'Sign with Test owner 1', 'loses the focus')

  for (const [index, name] of ['Test owner 1', 'Test owner 2'].entries()) {
    if (index) {
      await page.getByRole('button', { name: 'Sign out' }).click()
      await page.getByText('Nobody is signed in').waitFor()
    } else {
      await page.getByRole('link', { name: 'Sign-in' }).click()
    }
    await press(`Sign in with ${name}`)
    await window.getByText('wants you to sign in with your Ethereum account').waitFor()
    if (!index) await shoot('04-sign-in')
    await window.getByRole('button', { name: 'Sign' }).click()
    await page.waitForURL((url) => url.pathname === request)
    await page.getByRole('row', { name: scene.owners[index] }).getByText('(you)').waitFor()
    if (!index) await shoot('05-signed-in')
    await page.getByRole('button', { name: `Sign with ${name}` }).focus()
    await page.keyboard.press('Enter')
    await window.waitFor()
    const sign = window.getByRole('button', { name: 'Sign', exact: true })
    for (let tabs = 0; tabs < 5 && !await sign.evaluate((it) => it === document.activeElement); tabs++)
      await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await says(`Signed by ${scene.owners[index]}`)
    await page.getByRole('heading', { name: `Signatures: ${index + 1} of 2` }).waitFor()
    await page.evaluate(() => scrollTo(0, 0))
    await shoot(['06-one-signed', '07-approved'][index])
  }

  await press('Execute with Test operator')
  await window.waitFor()
  await shoot('08-execute')
  await window.getByRole('button', { name: 'Send' }).click()
  await says('Sent: transaction 0x')
  hold('wallet', await page.getByRole('button', { name: /^Execute/, disabled: false }).count() === 0, 'would send it twice')
  await shoot('09-sent')
  await page.locator('.headline .badge', { hasText: 'running' }).waitFor({ timeout: 60_000 })
  await says('The request is running now: ')
  await page.evaluate(() => scrollTo(0, 0))
  await shoot('10-running')
  await page.getByRole('link', { name: 'Requests' }).click()
  await page.getByText('running', { exact: true }).last().waitFor()
  await shoot('11-list')
  await context.close()
})

async function isAccessible(page) {
  await page.evaluate(axe)
  const runOnly = { type: 'tag', values: TAGS }
  const { violations } = await page.evaluate((runOnly) => axe.run('dialog', { runOnly }), runOnly)
  for (const { id, impact, nodes } of violations)
    for (const node of nodes) wrong('wallet', impact, id, node.html.slice(0, 200), node.failureSummary)
}
