// The HTML report: what a small run shows, that no text from outside becomes markup, that nothing is loaded, how it is
// saved.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "files/temp_folder.h"
#include "train/html_report.h"

namespace dgemma {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

bool Has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// A run whose every text from outside is made of `text`.
struct SmallRun {
  explicit SmallRun(const std::string& text) {
    for (int64_t step = 0; step < 40; ++step) {
      StepLine line{.report = {.step = step,
                               .diffusion_loss = 8.0 / static_cast<double>(step + 1),
                               .next_token_loss = 2,
                               .gradient_norm = 1,
                               .rate = 1e-3,
                               .tasks = {}},
                    .examples = 8 * (step + 1),
                    .epoch = 0.5,
                    .rows_per_second = 1000,
                    .seconds = static_cast<double>(step + 1),
                    .memory_bytes = 3 << 20};
      line.report.tasks[text + "task"] = {.rows = 10, .correct = step / 4};
      history.Add(line);
    }
    for (const int64_t steps : {0, 20, 40}) {
      for (const char* suite : {"diffusion", "greedy"}) {
        EvaluationLine line{.suite = text + suite, .steps_taken = steps, .diffusion_loss = 1, .next_token_loss = kNan};
        line.tasks[text + "task"] = {.answers = 40, .correct = steps, .canvases = 40, .canvas_steps = 480 - 10 * steps};
        line.tasks[text + "other"] = {.answers = 8, .correct = 2, .canvases = 0, .canvas_steps = 0};
        history.Add(line);
      }
      history.Add(SampleLine{.steps_taken = steps,
                             .task = text,
                             .prompt = text + "ask",
                             .answer = steps < 20 ? text : text + "right",
                             .expected = text + "right"});
      history.Add(
          SampleLine{.steps_taken = steps, .prompt = text + "else", .answer = text, .expected = text + "never"});
    }
    statistics.records = 1000;
    statistics.used = 995;
    statistics.examples = 995;
    statistics.answer_tokens.Add(17);
    statistics.faults[static_cast<size_t>(FaultKind::kTooLong)] = {.records = 5,
                                                                   .first = {text + "a.jsonl:7: too long", text}};
    subject = {.model = text + "model",
               .parameters = 4'100'000,
               .trained_parameters = 65'536,
               .planned_steps = 80,
               .facts = {{text + "Data", text}},
               .dataset = &statistics};
  }
  std::string Page() const { return HtmlReport(subject, history); }

  RunHistory history;
  DatasetStatistics statistics;
  ReportSubject subject;
};

/// The tags of a page with the names of their attributes, in order; fails the test where they do not nest.
std::vector<std::string> Tags(const std::string& page) {
  std::vector<std::string> tags, open;
  for (size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1)) {
    std::string tag;
    bool quoted = false;
    size_t end = at;
    for (; end < page.size() && (quoted || page[end] != '>'); ++end) {
      if (page[end] == '"') quoted = !quoted;
      if (!quoted) tag += page[end];
    }
    tags.push_back(tag);
    const std::string name = tag.substr(1, tag.find_first_of(" \"", 1) - 1);
    if (tag.ends_with('/') || name == "meta" || name == "br" || name == "!DOCTYPE") continue;
    if (!name.starts_with('/')) {
      open.push_back(name);
    } else if (open.empty() || "/" + open.back() != name) {
      ADD_FAILURE() << name << " closes " << (open.empty() ? "nothing" : open.back());
      return tags;
    } else {
      open.pop_back();
    }
    at = end;
  }
  EXPECT_TRUE(open.empty());
  return tags;
}

TEST(Report, ShowsTheRun) {
  const std::string page = SmallRun("").Page();
  for (const char* part : {
           "<title>model – training report</title>",
           "<h1>model</h1>",
           "<div class=\"progress\"><i style=\"width:50.0%\"></i></div>",
           "<dt>Steps</dt><dd>40<small>of 80</small></dd>",
           "<dt>Time</dt><dd>40 s<small>about 40 s left</small></dd>",
           "<dt>Examples seen</dt><dd>320<small>0.500 epochs</small></dd>",
           "<dt>Diffusion loss</dt><dd>0.200<small>from 8.00</small></dd>",
           "<dt>Next-token loss</dt><dd>2.00<small>from 2.00</small></dd>",
           "<dt>Accuracy, diffusion</dt><dd>87.5 %<small>2.00 steps per canvas</small></dd>",
           "<dt>Peak memory</dt><dd>3.1 MB</dd>",
           "<dt>Parameters</dt><dd>4.1 M, 65.5 k of them trained</dd>",
           "<h3>Loss, nats</h3>",
           "<h3>Accuracy, all tasks</h3>",
           "<h3>Steps per canvas</h3>",
           "<h3>Learning rate</h3>",
           "<h3>Gradient norm, before clipping</h3>",
           "<tr><td>task</td><td class=\"bar\" style=\"--part:1.000\">100 %</td><td><small>40 / "
           "40</small></td><td>2.00</td>",
           "<tr><td>other</td><td class=\"bar\" style=\"--part:0.250\">25.0 %</td><td><small>2 / "
           "8</small></td><td>–</td>",
           "<th colspan=\"3\">greedy <small>after 40 steps</small></th>",
           // Equal answers in a row are one; a right one is marked, another shows what was expected.
           "<div><span>step 0</span><pre></pre></div>\n<div class=\"right\"><span>step 20 – "
           "40</span><pre>right</pre></div>\n</article>",
           "<div><span>step 0 – "
           "40</span><pre></pre></div>\n<div><span>expected</span><pre>never</pre></div>\n</article>",
           "<p>1,000 records, 995 used, 995 examples.</p>",
           "<tr><td>too many tokens</td><td>5</td><td class=\"wrap\">a.jsonl:7: too long<br></td></tr>",
       }) {
    EXPECT_TRUE(Has(page, part)) << part;
  }
  Tags(page);
}

TEST(Report, NoTextFromOutsideBecomesMarkup) {
  const std::vector<std::string> tags = Tags(SmallRun("plain").Page());
  EXPECT_GT(tags.size(), 100U);
  for (const std::string& hostile :
       {std::string("<script>alert(1)</script>"), std::string("\"><img src=x onerror=alert(1)>"),
        std::string("' onload='alert(1)"), std::string("</style></title></pre></svg><b>"), std::string("<!--"),
        std::string("]]>"), std::string("&lt;b&gt;&#60;"), std::string("{} {0} %s"),
        std::string("\0\x1b[31m\xff\xc0\x80", 9), std::string("\u202e\u2028\n\r\n"), std::string("javascript:x"),
        std::string(100'000, '<')}) {
    const std::string page = SmallRun(hostile).Page();
    EXPECT_EQ(Tags(page), tags) << hostile.substr(0, 40);
    EXPECT_EQ(Count(page, "<script") + Count(page, "<img") + Count(page, "<!--") + Count(page, "<b>alert"), 0U);
    for (const char byte : page)
      ASSERT_TRUE(static_cast<unsigned char>(byte) >= 0x20 || byte == '\n') << hostile.substr(0, 40);
    EXPECT_LT(page.size(), 1'000'000U);
  }
}

TEST(Report, LoadsNothing) {
  const std::string page = SmallRun("").Page();
  for (const char* part : {"http:", "https:", "//", "url(", "@import", "src=", "href", "<script", "<link", "<iframe",
                           "@font-face", "onload"}) {
    EXPECT_FALSE(Has(page, part)) << part;
  }
  EXPECT_TRUE(Has(page, "content=\"default-src 'none'; style-src 'unsafe-inline'\""));
  EXPECT_TRUE(Has(page, "prefers-color-scheme:dark"));
  EXPECT_TRUE(Has(page, "name=\"viewport\""));
}

TEST(Report, OfARunThatHasNotBegunIsAPage) {
  const std::string page = HtmlReport({}, {});
  Tags(page);
  EXPECT_TRUE(Has(page, "<h1>(unnamed)</h1>"));
  EXPECT_FALSE(Has(page, "<section>"));
}

TEST(Report, ValuesThatAreNotFiniteLeaveGaps) {
  RunHistory history;
  StepLine line{.report = {.step = 0,
                           .diffusion_loss = kNan,
                           .next_token_loss = INFINITY,
                           .gradient_norm = kNan,
                           .rate = 1,
                           .tasks = {}},
                .epoch = kNan,
                .seconds = kNan};
  history.Add(line);
  history.Add(EvaluationLine{.suite = "s", .steps_taken = 1});
  const std::string page = HtmlReport({.planned_steps = 10}, history);
  Tags(page);
  EXPECT_EQ(Count(page, "nan") + Count(page, "inf"), 0U) << page;
  EXPECT_FALSE(Has(page, "Diffusion loss"));
  EXPECT_TRUE(Has(page, "<dt>Time</dt><dd>–</dd>"));
  EXPECT_TRUE(Has(page, "<h3>Learning rate</h3>"));
}

TEST(Report, ManyTasksPromptsAndAnswersAreCutShort) {
  RunHistory history;
  EvaluationLine line{.suite = "s", .steps_taken = 1};
  for (int i = 0; i < 200; ++i) {
    line.tasks["task " + std::to_string(i)] = {.answers = 1, .correct = 1};
    for (int64_t steps = 0; steps < 20; ++steps) {
      history.Add(
          SampleLine{.steps_taken = steps, .prompt = "prompt " + std::to_string(i), .answer = std::to_string(steps)});
    }
  }
  history.Add(line);
  EXPECT_EQ(history.samples.size(), RunHistory::kMaxSamples);
  const std::string page = HtmlReport({}, history);
  EXPECT_EQ(Count(page, "<figure class=\"small\">"), 96U);
  EXPECT_TRUE(Has(page, "and 104 more"));
  EXPECT_EQ(Count(page, "<tr><td>task "), 200U);
  EXPECT_EQ(Count(page, "<article"), 24U);
  EXPECT_EQ(Count(page, "<span>step "), 24U * 8);
  EXPECT_TRUE(Has(page, "<pre>0</pre>") && Has(page, "<pre>13</pre>") && !Has(page, "<pre>12</pre>"));
}

TEST(Report, IsReplacedWholeOrNotAtAll) {
  const TempFolder folder;
  const auto path = folder.path() / "report.html";
  const SmallRun run("");
  ASSERT_TRUE(SaveHtmlReport(path, run.subject, run.history));
  EXPECT_EQ(FileContent(path), run.Page());
  EXPECT_EQ(folder.Names().size(), 1U);
  const auto failed = SaveHtmlReport(folder.path() / "missing" / "report.html", run.subject, run.history);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, StatusCode::kIo);
}

}  // namespace
}  // namespace dgemma
