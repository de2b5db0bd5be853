// EXPECT_ERROR(statement, ErrorType, "words of the message")
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#define EXPECT_ERROR(statement, Type, words)                 \
  try {                                                      \
    statement;                                               \
    ADD_FAILURE() << "nothing was thrown";                   \
  } catch (const Type& thrown) {                             \
    EXPECT_THAT(thrown.what(), ::testing::HasSubstr(words)); \
  }
