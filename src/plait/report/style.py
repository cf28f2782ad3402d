"""The look of the report: system fonts, one column on a phone, two on a desk, dark where the reader's screen is."""

STYLE = """
:root{color-scheme:light dark;--ink:#1f2933;--muted:#5f6b7a;--line:#dde2e8;--paper:#fff;--ground:#f4f6f8;
--accent:#0072b2;--good:#00795a;--warn:#b54708;
--font:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaef;--muted:#9aa7b5;--line:#333d48;--paper:#1a2027;--ground:#12161b;
--accent:#56b4e9;--good:#3ecf9c;--warn:#f5a35c}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 var(--font);-webkit-text-size-adjust:100%}
main{max-width:1080px;margin:0 auto;padding:40px 24px 64px}
header{padding:0 4px 12px}
.eyebrow{margin:0 0 10px;color:var(--accent);font-weight:600;letter-spacing:.01em}
h1{font-size:clamp(22px,3.2vw,32px);line-height:1.25;letter-spacing:-.015em;font-weight:650;margin:0 0 14px;
max-width:32em;text-wrap:balance;overflow-wrap:anywhere}
.also p{margin:0 0 4px;max-width:46em;font-size:17px;overflow-wrap:anywhere}
.about{color:var(--muted);margin:12px 0 22px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.tile{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:12px 16px}
.tile span{display:block;color:var(--muted);font-size:13px}
.tile b{display:block;font-size:26px;font-weight:620;line-height:1.3;font-variant-numeric:tabular-nums}
.tile small{font-size:12.5px}
section{background:var(--paper);border:1px solid var(--line);border-radius:14px;padding:24px 28px;margin-top:20px}
h2{font-size:19px;letter-spacing:-.01em;margin:0 0 16px;font-weight:640}
h3{font-size:13px;color:var(--muted);margin:0 0 8px;font-weight:600}
small,figcaption{color:var(--muted);font-size:13px}
.pair{display:grid;grid-template-columns:minmax(0,4fr) minmax(0,5fr);gap:20px;align-items:start}
.row{display:flex;flex-wrap:wrap;gap:12px 40px}
figure{margin:0}
figcaption{margin-top:10px;max-width:60ch;line-height:1.45}
.scroll{overflow-x:auto;background:linear-gradient(90deg,var(--paper) 50%,transparent) 0 0/36px 100%,
linear-gradient(-90deg,var(--paper) 50%,transparent) 100% 0/36px 100%,
linear-gradient(90deg,var(--line),transparent) 0 0/14px 100%,
linear-gradient(-90deg,var(--line),transparent) 100% 0/14px 100%;
background-repeat:no-repeat;background-attachment:local,local,scroll,scroll}
svg{display:block;max-width:100%;height:auto}
table{border-collapse:collapse;width:100%;font-size:14.5px;font-variant-numeric:tabular-nums}
th{font-weight:500;color:var(--muted);font-size:13px;text-align:right;padding:4px 0 6px 10px;vertical-align:bottom}
td{border-top:1px solid var(--line);padding:7px 0 7px 10px;text-align:right;white-space:nowrap}
th:first-child,td:first-child,table.left th,table.left td{text-align:left}
th:first-child,td:first-child{padding-left:0;white-space:normal;overflow-wrap:break-word}
th.said{min-width:15ch}
td.prose{white-space:normal;text-align:left;min-width:24ch}
table.kinds th:nth-child(2),table.kinds td:nth-child(2){text-align:left}
table.left td:last-child{white-space:normal;overflow-wrap:anywhere}
em{font-style:normal;font-size:11.5px;color:var(--accent);border:1px solid currentColor;border-radius:20px;
padding:0 7px;margin-left:4px;white-space:nowrap}
.bar{display:inline-block;width:64px;height:7px;border-radius:4px;background:var(--line);margin-right:6px;
vertical-align:middle;overflow:hidden}
.bar i{display:block;height:100%;background:var(--accent)}
.search{display:grid;grid-template-columns:190px minmax(0,1fr);gap:20px;padding:18px 0;border-top:1px solid var(--line)}
.search:first-of-type{border-top:0;padding-top:0}
.query{background:var(--ground);border-radius:12px;padding:14px;align-self:start}
.hits{list-style:none;margin:0;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(136px,1fr));gap:12px}
.hits li{border:1px solid var(--line);border-radius:12px;padding:10px 12px;min-width:0}
.rank{display:flex;gap:8px;align-items:baseline;margin-bottom:6px}
.rank span{font-weight:650}.rank small{margin-left:auto;font-variant-numeric:tabular-nums}
.yes{color:var(--good);font-size:13px;font-weight:600}
.cell{margin:0 0 8px}.cell dt{color:var(--muted);font-size:11.5px}.cell dd{margin:0;font-size:14px;line-height:1.35}
.cell q{quotes:none;overflow-wrap:anywhere}
.cell img{display:block;width:100%;height:112px;object-fit:contain;background:#fff;border-radius:8px}
.cell audio{display:block;width:100%;height:34px}
.id{color:var(--muted);font-size:11.5px;overflow-wrap:anywhere}
.warnings{margin:0 0 14px;padding:0;list-style:none}
.warnings li{border-left:3px solid var(--warn);padding:4px 0 4px 12px;margin-bottom:8px;overflow-wrap:anywhere}
.question{display:grid;gap:14px;grid-template-columns:minmax(0,1fr)}
.question p{margin:0;max-width:62ch;overflow-wrap:anywhere}
.question .answer{font-size:18px;font-weight:560;line-height:1.4}
.question svg{min-width:460px}
.question h3{margin:8px 0 -6px}
.question summary{cursor:pointer;color:var(--muted);font-size:13.5px}
.question details p{margin-top:8px;color:var(--muted);font-size:13.5px}
@media print{.question ::details-content{content-visibility:visible}}
pre{background:var(--ground);border-radius:10px;padding:14px 16px;overflow-x:auto;margin:0 0 12px;
font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
summary{cursor:pointer;font-weight:600;margin:6px 0 10px}
p{margin:0 0 10px}
@media(max-width:760px){main{padding:24px 12px 40px}section{padding:18px 16px}
.pair,.search{grid-template-columns:minmax(0,1fr)}
.whole svg{max-width:none}
.tiles,.hits{grid-template-columns:repeat(2,minmax(0,1fr))}.tile{padding:10px 12px}.tile b{font-size:22px}
th,td{padding-left:10px}.bar{display:none}}
@media print{:root{--ground:#fff}main{max-width:none;padding:0}section{break-inside:avoid;border:0;padding:12px 0}
details>*{display:block}}
"""
