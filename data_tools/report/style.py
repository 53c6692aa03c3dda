"""How the page looks: one style sheet, light and dark."""

STYLE = """
:root {
  --back: #ffffff; --text: #1c2127; --soft: #5a6470; --line: #dfe3e8; --panel: #f6f7f9;
  --mark: #2f6fb0; --kept: #2f6fb0; --exact: #e08a1e; --near: #f2c14e; --filtered: #a0529c;
  --empty: #9aa4af; --aside: #c8372d; --structure: #cfd5db; --rule: #c8372d;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14171b; --text: #e4e8ec; --soft: #98a3af; --line: #2c333b; --panel: #1c2127;
    --mark: #5b9bd8; --kept: #4788c7; --exact: #eb9d3c; --near: #f5d07a; --filtered: #c07dbd;
    --empty: #6f7a86; --aside: #ea6358; --structure: #434c56; --rule: #ea6358;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1000px; padding: 2rem 1.25rem 4rem; background: var(--back);
  color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans",
  "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif;
}
h1 { font-size: 1.6rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .5rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
p { margin: .4rem 0 .8rem; max-width: 75ch; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .88em; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
nav { margin: 1rem 0 0; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; }
a { color: var(--mark); }
dl.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: .6rem;
  margin: 1.25rem 0 0; }
dl.tiles div { background: var(--panel); border-radius: 6px; padding: .6rem .8rem; }
dl.tiles dt { color: var(--soft); font-size: .85rem; }
dl.tiles dd { margin: 0; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .22rem 1.1rem .22rem .2rem; text-align: right;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); }
tbody th { font-weight: 400; color: var(--text); }
.left { text-align: left; }
tr.sum td, tr.sum th { font-weight: 600; }
tbody th[rowspan] { vertical-align: top; font-weight: 600; }
tbody tr:hover { background: var(--panel); }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--mark); }
svg { display: block; width: 100%; min-width: 640px; height: auto; font-size: 12px; }
svg text { fill: var(--text); font-family: inherit; }
svg .tick, svg .note { fill: var(--soft); font-size: 11px; }
svg .head { font-size: 13px; font-weight: 600; }
svg .value { font-size: 11.5px; fill: var(--soft); }
svg .grid { stroke: var(--line); }
svg .rule { stroke: var(--rule); stroke-dasharray: 4 3; }
svg .mark { fill: var(--mark); }
svg .mark:hover { opacity: .75; }
svg .kept { fill: var(--kept); } svg .exact { fill: var(--exact); }
svg .near { fill: var(--near); } svg .filtered { fill: var(--filtered); }
svg .empty { fill: var(--empty); } svg .aside { fill: var(--aside); }
svg .structure { fill: var(--structure); }
ul.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0;
  margin: .5rem 0; font-size: .88rem; }
ul.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px;
  margin-right: .4em; }
i.kept { background: var(--kept); } i.exact { background: var(--exact); }
i.near { background: var(--near); } i.filtered { background: var(--filtered); }
i.empty { background: var(--empty); } i.aside { background: var(--aside); }
i.structure { background: var(--structure); }
@media print { details { display: none; } nav { display: none; } }
"""
