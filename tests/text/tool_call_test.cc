// The notation of tool calls: values, leniency where models are sloppy, every error, and the bound on depth.
#include "text/tool_call.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

namespace dgemma {
namespace {

/// Builds a source from text in which ' stands for a quote token.
ToolCallSource Source(std::string_view text) {
  ToolCallSource source;
  for (char c : text) {
    if (c == '\'') {
      source.quotes.push_back(source.text.size());
    } else {
      source.text.push_back(c);
    }
  }
  return source;
}

std::string Parse(std::string_view text) {
  const auto call = ParseToolCall(Source(text));
  return call ? call->name + " " + boost::json::serialize(call->arguments) : call.error().message;
}

TEST(ToolCall, Values) {
  EXPECT_EQ(Parse("call:f{}"), "f {}");
  EXPECT_EQ(Parse("call:get_weather{b:true,city:'Paris',d:{k:'v'},l:[1,'a'],n:3,x:null}"),
            R"(get_weather {"b":true,"city":"Paris","d":{"k":"v"},"l":[1,"a"],"n":3,"x":null})");
  EXPECT_EQ(Parse("call:f{a:'{\"x\":[1,2}],:',b:''}"), R"(f {"a":"{\"x\":[1,2}],:","b":""})");
  EXPECT_EQ(Parse("call:f{a:-1.5,b:18446744073709551615,c:1e3,d:-0,e:[],g:{},h:[[],{}]}"),
            R"(f {"a":-1.5E0,"b":18446744073709551615,"c":1E3,"d":0,"e":[],"g":{},"h":[[],{}]})");
}

TEST(ToolCall, Lenient) {
  EXPECT_EQ(Parse(" call: f { a : 1 , 'b c' : two words , d: [ x , 'y' ] } \n"),
            R"(f {"a":1,"b c":"two words","d":["x","y"]})");
  EXPECT_EQ(Parse("call:f{a:007,b:1.,c:+1,d:0x1,e:1e999,g:NaN}"),
            R"(f {"a":"007","b":"1.","c":"+1","d":"0x1","e":"1e999","g":"NaN"})");
}

TEST(ToolCall, Errors) {
  EXPECT_EQ(Parse(""), "tool call: does not begin with call: at byte 0");
  EXPECT_EQ(Parse("f{}"), "tool call: does not begin with call: at byte 0");
  EXPECT_EQ(Parse("call:{}"), "tool call: a call without a name at byte 5");
  EXPECT_EQ(Parse("call:f"), "tool call: no { behind the name at byte 6");
  EXPECT_EQ(Parse("call:f{"), "tool call: an empty key at byte 7");
  EXPECT_EQ(Parse("call:f{a}"), "tool call: no : behind a key at byte 8");
  EXPECT_EQ(Parse("call:f{a:}"), "tool call: a missing value at byte 9");
  EXPECT_EQ(Parse("call:f{a:1"), "tool call: neither , nor } behind a value at byte 10");
  EXPECT_EQ(Parse("call:f{a:1,}"), "tool call: an empty key at byte 11");
  EXPECT_EQ(Parse("call:f{a:[1,]}"), "tool call: a missing value at byte 12");
  EXPECT_EQ(Parse("call:f{a:[1}"), "tool call: neither , nor ] behind a value at byte 11");
  EXPECT_EQ(Parse("call:f{a:'x}"), "tool call: a string without an end at byte 9");
  EXPECT_EQ(Parse("call:f{a:'x''y'}"), "tool call: neither , nor } behind a value at byte 10");
  EXPECT_EQ(Parse("call:f{a:1,a:2}"), "tool call: a repeated key at byte 14");
  EXPECT_EQ(Parse("call:f{} more"), "tool call: text behind the call at byte 9");
  EXPECT_EQ(Parse("'call:f{}"), "tool call: does not begin with call: at byte 0");
}

TEST(ToolCall, DepthIsBounded) {
  const auto nested = [](size_t lists) {
    return "call:f{a:" + std::string(lists, '[') + std::string(lists, ']') + "}";
  };
  EXPECT_TRUE(Parse(nested(kMaxToolCallDepth - 1)).starts_with("f {"));
  EXPECT_TRUE(Parse(nested(kMaxToolCallDepth)).starts_with("tool call: nested too deep"));
  EXPECT_TRUE(Parse(nested(500'000)).starts_with("tool call: nested too deep"));
}

TEST(ToolCall, SizeIsBounded) {
  EXPECT_TRUE(ParseToolCall({"call:f{a:" + std::string(kMaxToolCallBytes - 10, 'x') + "}", {}}));
  EXPECT_FALSE(ParseToolCall({"call:f{a:" + std::string(kMaxToolCallBytes - 9, 'x') + "}", {}}));
}

}  // namespace
}  // namespace dgemma
