"""The style sheet of the page. Used by `page`, and by `docs`, which allows its hash."""

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6570;--line:#d8dee4;--back:#fff;
--soft:#f5f7f9;--mark:#0b62a8;--bad:#a3371b;--good:#1a7048}
@media(prefers-color-scheme:dark){:root{--ink:#e3e8ed;--dim:#98a3ae;--line:#343b43;
--back:#14171a;--soft:#1d2226;--mark:#6db3f2;--bad:#f0957c;--good:#6fcf97}}
*{box-sizing:border-box}
html{scroll-padding-top:1rem}
body{margin:0 auto;max-width:58rem;padding:1.5rem 1rem 5rem;background:var(--back);
color:var(--ink);font:16px/1.55 system-ui,sans-serif;overflow-wrap:break-word}
h1{margin:0;font-size:1.9rem}
h2{margin:4rem 0 .5rem;padding-top:1rem;border-top:3px solid var(--line);font-size:1.5rem}
h3{margin:3rem 0 .25rem;font:600 1.05rem/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
h4{margin:1.75rem 0 .4rem;font-size:.95rem}
a{color:var(--mark)}
p,ul{margin:.5rem 0}
nav ul{list-style:none;padding:0;margin:.25rem 0 1rem}
nav li{padding:.15rem 0}
nav b{display:block}
.dim{color:var(--dim)}
.verb{display:inline-block;margin-right:.5rem;padding:0 .45rem;border-radius:.25rem;
background:var(--mark);color:var(--back);font-size:.85rem}
code,pre{font:.875em/1.5 ui-monospace,monospace}
code{background:var(--soft);padding:.1em .3em;border-radius:.25rem;overflow-wrap:anywhere}
pre{margin:.4rem 0;padding:.75rem;overflow-x:auto;background:var(--soft);
border:1px solid var(--line);border-radius:.4rem}
pre code{padding:0;background:none;overflow-wrap:normal}
.scroll{overflow-x:auto}
table{width:100%;border-collapse:collapse;font-size:.92rem}
th,td{padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line);text-align:left;
vertical-align:top}
th{color:var(--dim);font-weight:600}
td pre{margin:0;padding:.35rem .5rem;white-space:pre-wrap;overflow-wrap:anywhere}
.s2{color:var(--good)}.s4,.s5{color:var(--bad)}
@media(max-width:38rem){
.stack,.stack tbody,.stack tr,.stack td{display:block}
.stack thead{display:none}
.stack td{border:0;padding:.1rem 0}
.stack tr{display:block;padding:.6rem 0;border-bottom:1px solid var(--line)}
}
"""
