// The figures after an answer, as one line for people and as JSON for programs. Time spent waiting for people to watch
// (--slow) is taken out before anything is computed.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "dgemma/dgemma.h"

namespace dgemma {

/// Ratios of an answer. Zero where there is nothing to divide by.
struct Rates {
  double passes_per_canvas = 0;  ///< denoising and commit passes
  double tokens_per_pass = 0;    ///< answer tokens, not canvas tokens
  double tokens_per_second = 0;  ///< answer tokens over the time after the prompt was read
  double row_share = 0;  ///< computed canvas rows over those of full passes; 1 unless settled rows were left out
};

Rates RatesOf(const Figures& figures);

/// Seconds that the listener only waited, in all and before the first final text.
struct Waiting {
  double total_seconds = 0;
  double before_text_seconds = 0;
};

/// The figures without the waiting.
Figures Without(Figures figures, const Waiting& waiting);

/// "ttft 12 ms, 5.0 passes/canvas, 7.4 tok/pass, 812 tok/s, 37 tokens, seed 0"; computed rows ("rows 54 %") where some were left out;
/// the number of canvases and how it ended where these are not one and "stop". "(empty answer)" in place of ttft where there is no text.
std::string FiguresLine(const Answer& answer);

/// A second line: prompt, cache, prefill, total.
std::string MoreFigures(const Answer& answer);

/// All fields of Figures, seconds as milliseconds, and the rates.
boost::json::object FiguresJson(const Figures& figures);

/// One object: text, thought, tool_calls, tokens, finish, figures.
boost::json::object AnswerJson(const Answer& answer);

}  // namespace dgemma
