// Never ends, and neither does what it has the page do.

import { run, visitor } from './kit.mjs'

await run(async (browser) => {
  const page = await (await visitor(browser)).newPage()
  console.error('hangs')
  await page.evaluate(() => { for (;;); })
})
