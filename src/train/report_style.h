// The style of the HTML report: light and dark by the reader's setting, one column on a phone, nothing from elsewhere.
#pragma once

#include <string_view>

namespace dgemma {

/// Content of the page's <style>. Classes c0 to c7 are colours of lines; `at` is a place under the pointer
/// (svg_chart.h).
inline constexpr std::string_view kReportStyle = R"css(
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#5c6675;--rule:#e3e7ed;--grid:#edf0f4;
--good:#0f7b4f;
--bar:#dbe7fb;--c0:#2f6fde;--c1:#d9730d;--c2:#0a9068;--c3:#c93a85;--c4:#7a52d6;--c5:#0b87a8;--c6:#6c8a0c;--c7:#d0393c}
@media(prefers-color-scheme:dark){:root{--bg:#0e1217;--card:#161c24;--ink:#e5eaf1;--soft:#97a2b2;--rule:#2a323d;
--grid:#222a34;
--good:#4fc994;--bar:#1f3a66;--c0:#6ea8ff;--c1:#f5a54a;--c2:#40d3a0;--c3:#f77fb9;--c4:#ac92ff;--c5:#45c8e6;
--c6:#b6d44a;--c7:#ff7d7d}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:1120px;margin:0 auto;padding:28px 16px 48px}
h1{font-size:1.7rem;line-height:1.2;margin:0;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:36px 0 12px}
h3{font-size:.92rem;font-weight:600;margin:0;overflow-wrap:anywhere}
p{margin:.3em 0}
.soft,small{color:var(--soft)}
.progress{height:6px;border-radius:3px;background:var(--rule);margin:16px 0;overflow:hidden}
.progress i{display:block;height:100%;background:var(--c0)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;margin:16px 0 0;padding:0}
.tiles div,figure,.card{background:var(--card);border:1px solid var(--rule);border-radius:10px}
.tiles div{padding:10px 14px}
.tiles dt{color:var(--soft);font-size:.8rem}
.tiles dd{margin:0;font-size:1.3rem;font-weight:600;line-height:1.3;font-variant-numeric:tabular-nums;
overflow-wrap:anywhere}
.tiles small{display:block;font-size:.8rem;font-weight:400}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;margin:0;padding:14px 16px}
.facts dt{color:var(--soft)}
.facts dd{margin:0;overflow-wrap:anywhere;white-space:pre-wrap}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:14px}
.smalls{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px}
figure{margin:0;padding:12px 12px 6px;min-width:0}
figcaption{display:flex;flex-wrap:wrap;gap:2px 16px;justify-content:space-between;align-items:baseline}
figure.small{padding:8px 10px 6px}
.small b+b{margin-left:8px}.small b{font-size:.85rem;font-variant-numeric:tabular-nums;color:var(--c)}
svg{display:block;width:100%;height:auto}
.legend{display:flex;flex-wrap:wrap;gap:0 14px;list-style:none;margin:0;padding:0;font-size:.82rem;color:var(--soft)}
.legend i{display:inline-block;width:14px;height:3px;border-radius:2px;background:var(--c);margin-right:6px;
vertical-align:middle}
.legend b{color:var(--ink);font-variant-numeric:tabular-nums}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{
--c:var(--c6)}
.c7{--c:var(--c7)}
svg text{font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--soft);
font-variant-numeric:tabular-nums}
.end{text-anchor:end}.mid{text-anchor:middle}
.grid{stroke:var(--grid);fill:none}.axis{stroke:var(--soft);fill:none;opacity:.6}
.line{stroke:var(--c);stroke-width:1.8;fill:none;stroke-linejoin:round;stroke-linecap:round}
.raw{stroke:var(--c);stroke-width:1;fill:none;opacity:.28;stroke-linejoin:round}
.area{fill:var(--c);opacity:.12}.dot{fill:var(--c)}.dash{stroke-dasharray:5 4}.dot.dash,.area.dash{stroke:none}
.at rect{fill:transparent}.at path{stroke:var(--soft);visibility:hidden}.at text{fill:var(--ink);visibility:hidden}
.at tspan{fill:var(--c);font-weight:600}.at:hover path,.at:hover text{visibility:visible}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:6px 14px;text-align:right;border-top:1px solid var(--rule);white-space:nowrap}
thead th{border-top:0;font-weight:600}thead tr+tr th{color:var(--soft);font-weight:400;font-size:.82rem;padding-top:0}
th:first-child,td:first-child{text-align:left;font-weight:400;white-space:normal;overflow-wrap:anywhere;min-width:7em}
tfoot td,tfoot th:first-child{font-weight:600}
td.bar{
background:linear-gradient(var(--bar),var(--bar)) no-repeat left 14px center/calc(var(--part)*(100% - 28px)) 68%;
min-width:8.5em}
.sample{padding:12px 14px;margin:0 0 10px}
thead th[colspan]{text-align:left}
h3.after{margin:16px 0 8px}
.sample>div{display:grid;grid-template-columns:11em 1fr;gap:2px 14px;padding:3px 0;align-items:baseline}
.sample span{color:var(--soft);font-size:.82rem;font-variant-numeric:tabular-nums}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;
font:.86rem/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;
max-height:22em;overflow-y:auto}
.right pre{color:var(--good)}.right pre::after{content:" \2713"}
.ask{border-bottom:1px solid var(--rule);margin-bottom:4px}.ask pre{font-weight:600}
th.wrap,td.wrap{white-space:normal;text-align:left;overflow-wrap:anywhere;min-width:15em}
footer{margin-top:36px;color:var(--soft);font-size:.82rem}
@media(max-width:560px){main{padding:18px 12px 36px}.facts{grid-template-columns:1fr;gap:0}.facts dd{
margin-bottom:8px}
.sample>div{grid-template-columns:1fr;gap:0}svg text{font-size:14px}.tiles dd{font-size:1.15rem}
.tiles{grid-template-columns:repeat(2,1fr)}.smalls{grid-template-columns:repeat(2,1fr)}}
@media print{body{background:none}figure,.sample,tr{break-inside:avoid}}
)css";

}  // namespace dgemma
