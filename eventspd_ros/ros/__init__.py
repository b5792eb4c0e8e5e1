"""The only room that knows rclpy."""
